//! The examples of the guide about `[[auth]]` are whole files whose own tests pass.

use crate::{language::compile, shipped, tools::filetest};

#[test]
fn the_examples_of_the_guide_are_true() {
    const MARK: &str = "<!-- auth: run by src/engine/language/auth/guide_tests.rs -->\n```toml\n";
    let guide = include_str!("../../../../docs/provider-files.md");
    let blocks: Vec<&str> = guide.split(MARK).skip(1).filter_map(|tail| tail.split("\n```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let compiled = compile::compile(&shipped::load_with(&[("demo.toml", block)]).files);
        assert_eq!(compiled.diagnostics, [], "{block}");
        let own = compiled.providers.iter().find(|one| one.name.as_str() == "demo").unwrap();
        assert!(!own.tests.is_empty(), "{block}");
        assert_eq!(filetest::run(&compiled).diagnostics, [], "{block}");
    }
}
