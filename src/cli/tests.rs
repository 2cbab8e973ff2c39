use std::{fs, path::Path};

use super::*;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn other_words_are_the_same_commands() {
    synonyms::add_to(Cli::command()).debug_assert();
    for (path, words) in synonyms::SYNONYMS {
        let known =
            path.iter().try_fold(&Cli::command(), |command, name| command.find_subcommand(name)).is_some();
        assert!(known, "{path:?}");
        for word in *words {
            let (last, front) = path.split_last().unwrap();
            let line = ["tollgate"].iter().chain(front).chain([word]).chain(&["--help"]);
            let shown = parse(line.map(OsString::from)).err().unwrap().to_string();
            let usage = format!("Usage: tollgate {}", [front, &[*last]].concat().join(" "));
            assert!(shown.contains(&usage), "{word}: {usage} is missing in\n{shown}");
            assert!(!shown.contains("alias"), "{shown}");
        }
    }
    let check = |line: &str| parse(line.split(' ').map(OsString::from)).map(|cli| cli.command.is_some());
    for line in [
        "tollgate token create alice --kind both",
        "tollgate token delete tok_1",
        "tollgate user create alice",
        "tollgate user delete alice",
        "tollgate credential add alice providers.demo.apiKey",
        "tollgate credentials ls alice",
    ] {
        assert!(check(line).unwrap_or_default(), "{line}");
    }
    assert!(check("tollgate token creat alice").is_err());
}

/// What ends a command in a shell's line, or in a sentence.
const ENDS: [&str; 12] = ["|", "||", "&&", "&", ";", ">", ">>", "<", "#", "...", "\\", "2>"];

/// The command line after `tollgate`: the first command or flag in it that does not exist.
fn unknown(line: &str) -> Option<String> {
    let mut root = Cli::command();
    root.build();
    let mut commands = vec![&root];
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if ENDS.contains(&word) {
            return None;
        }
        let is_last = word.ends_with([';', ')']) && !word.contains('(');
        let word = word.trim_matches(['[', ']', '(', ')', ',', ';', '.', ':', '\'', '"', '`']);
        if word.starts_with('-') && word.len() > 1 {
            for flag in word.split('|') {
                let name = flag.split(['=', '[']).next().unwrap_or_default();
                match find_flag(&commands, name) {
                    Some(true) if !flag.contains('=') && commands.iter().all(|one| one.has_subcommands()) => {
                        words.next();
                    }
                    Some(_) => {}
                    None => return Some(name.to_owned()),
                }
            }
        } else {
            let alternatives: Vec<&str> = word.split(['|', '/']).filter(|one| !one.is_empty()).collect();
            let is_command = |one: &&str| one.chars().all(|sign| sign.is_ascii_lowercase() || sign == '-');
            if commands.iter().all(|one| one.has_subcommands()) {
                if alternatives.is_empty() || !alternatives.iter().all(is_command) {
                    return None;
                }
                let mut found = Vec::new();
                for one in alternatives {
                    match commands.iter().find_map(|command| command.find_subcommand(one)) {
                        Some(command) => found.push(command),
                        None => return Some(one.to_owned()),
                    }
                }
                commands = found;
            }
        }
        if is_last {
            return None;
        }
    }
    None
}

/// True if the flag takes a value; none if there is no such flag. Commands take the flags of places too.
fn find_flag(commands: &[&clap::Command], name: &str) -> Option<bool> {
    let is_it = |arg: &&clap::Arg| match name.strip_prefix("--") {
        Some(long) => {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        }
        None => name
            .strip_prefix('-')
            .is_some_and(|short| arg.get_short().is_some_and(|one| short.starts_with(one))),
    };
    let arg = commands.iter().find_map(|command| command.get_arguments().find(is_it))?;
    Some(arg.get_action().takes_values())
}

/// The command lines in backticks.
fn quoted_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter_map(|span| span.trim().strip_prefix("tollgate "))
}

/// The command lines in the shell blocks of a document, and in backticks outside of blocks.
fn document_lines(text: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), None);
    let text = text.replace("\\\n", " ");
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(language.trim().to_owned()) };
            continue;
        }
        match block.as_deref() {
            None => found.extend(quoted_lines(&line.replace("\\|", "|")).map(str::to_owned)),
            Some("sh" | "bash" | "shell") => {
                for part in line.split(['|', '&', ';', '(']) {
                    let part = part.trim().trim_start_matches("$ ");
                    found.extend(part.strip_prefix("tollgate ").map(str::to_owned));
                }
            }
            Some(_) => {}
        }
    }
    found
}

fn files(dir: &Path, extension: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|one| one == extension) {
            found.push(path);
        }
    }
}

fn helps(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    let name = format!("{path} {}", command.get_name());
    found.push((name.clone(), command.clone().render_long_help().to_string()));
    for sub in command.get_subcommands() {
        helps(sub, &name, found);
    }
}

#[test]
fn an_unknown_command_or_flag_is_found() {
    let check = |line: &str, expected: Option<&str>| assert_eq!(unknown(line).as_deref(), expected, "{line}");
    check("user add alice", None);
    check("user add|list|change|remove", None);
    check("user invent", Some("invent"));
    check("status --json", None);
    check("status --jsn", Some("--jsn"));
    check("--data DIR status --all", None);
    check("user add alice || tollgate token add alice", None);
    check("frobnicate", Some("frobnicate"));
    check("--listen=x", None);
    check("token list # --nothing", None);
    check("NAME --nothing", None);
}

#[test]
fn helps_documents_and_messages_name_only_commands_and_flags_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Cli::command();
    command.build();
    let (mut all, mut helped) = (Vec::new(), Vec::new());
    helps(&command, "", &mut helped);
    all.extend(helped.iter().flat_map(|(name, text)| {
        // Help is wrapped.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        quoted_lines(&text).map(|line| (format!("the help of{name}"), line.to_owned())).collect::<Vec<_>>()
    }));
    let mut documents = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    files(&root.join("docs"), "md", &mut documents);
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        all.extend(document_lines(&text).into_iter().map(|line| (path.display().to_string(), line)));
    }
    let mut sources = Vec::new();
    files(&root.join("src"), "rs", &mut sources);
    for path in sources.iter().filter(|path| !path.ends_with("cli/tests.rs")) {
        for line in fs::read_to_string(path).unwrap().lines() {
            all.extend(quoted_lines(line).map(|line| (path.display().to_string(), line.to_owned())));
        }
    }
    assert!(all.len() > 200, "{} command lines", all.len());
    let wrong: Vec<_> = all.iter().filter_map(|(place, line)| Some((unknown(line)?, line, place))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
