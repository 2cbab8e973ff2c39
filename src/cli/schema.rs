//! `tollgate schema`: prints or writes the JSON schemas of provider files, settings files, and the `OpenAPI` document.

use std::path::PathBuf;

use anyhow::Context as _;

use super::whole_file;
use crate::{
    admin,
    output::{self, Document},
    settings,
    syntax::{self, Draft},
};

/// Print the JSON schema of a kind of file, or write all schemas
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `provider`, `gateway`, `api`, `prices`, `client`, `policy` or `settings`; or `openapi`, the document of the HTTP API
    #[arg(
        value_parser = ["provider", "gateway", "api", "prices", "client", "policy", "settings", "openapi"],
        default_value = "provider"
    )]
    kind: String,
    /// The draft of JSON Schema; `07` for editors without support for 2020-12
    #[arg(long, value_parser = ["2020-12", "07"], default_value = "2020-12")]
    draft: String,
    /// Write all schemas into this directory; those of draft 07 into `draft-07`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// All schemas and the `OpenAPI` document: path and text of each file.
pub fn all() -> Vec<(String, String)> {
    let drafts = [(Draft::Current, ""), (Draft::Seven, "draft-07/")];
    let files = drafts.into_iter().flat_map(|(draft, folder)| {
        let kinds =
            syntax::FileKind::ALL.iter().map(move |kind| (kind.stem(), syntax::schema_text(*kind, draft)));
        let all = kinds.chain([("settings", settings::schema_text(draft))]);
        all.map(move |(stem, text)| (format!("{folder}{stem}.schema.json"), text))
    });
    files.chain([("openapi.json".to_owned(), admin::openapi())]).collect()
}

/// Prints one schema, or writes all.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(dir) = &args.out else {
        let folder = if args.draft == "07" { "draft-07/" } else { "" };
        let wanted = match args.kind.as_str() {
            "openapi" => "openapi.json".to_owned(),
            kind => format!("{folder}{kind}.schema.json"),
        };
        let text =
            all().into_iter().find(|(file, _)| *file == wanted).map(|(_, text)| text).unwrap_or_default();
        return output::print_document(&Document::json_text(&text)).context("failed to print");
    };
    let folder = dir.join("draft-07");
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let files: Vec<_> = all().into_iter().map(|(file, text)| (dir.join(file), text)).collect();
    whole_file::write_all(files.iter().map(|(path, text)| (&**path, &**text))).map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("failed to write `{}`", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Editors show the title and description of each key, and an example or the allowed values.
    #[test]
    fn every_key_is_described() {
        fn look(schema: &Value, path: &str, seen: &mut usize) {
            let named = |one: &Value, path: &str| {
                for key in ["title", "description"] {
                    let text = one.get(key).and_then(Value::as_str).unwrap_or_default();
                    assert!(!text.is_empty() && !text.contains('\n'), "{path} has no {key} of one line");
                }
            };
            let types = schema.get("$defs").or(schema.get("definitions")).and_then(Value::as_object);
            for (name, one) in types.into_iter().flatten() {
                named(one, &format!("{path}/{name}"));
            }
            for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                let path = format!("{path}/{name}");
                named(property, &path);
                assert!(property.get("examples").is_some(), "{path} has no example");
                let has_type =
                    ["type", "$ref", "allOf", "enum"].iter().any(|key| property.get(key).is_some());
                assert!(has_type, "{path} has no type: {property}");
                *seen += 1;
            }
            for (name, child) in
                schema.as_object().into_iter().flatten().filter(|(name, _)| *name != "examples")
            {
                look(child, &format!("{path}/{name}"), seen);
            }
        }
        for (file, text) in super::all().into_iter().filter(|(file, _)| file.ends_with(".schema.json")) {
            let schema: Value = serde_json::from_str(&text).unwrap();
            let mut seen = 0;
            look(&schema, &file, &mut seen);
            assert!(seen > 10, "{file} has {seen} keys");
            let (old, stem) = (file.starts_with("draft-07/"), file.rsplit('/').next().unwrap());
            let (draft, id) = if old {
                ("http://json-schema.org/draft-07/schema#", "urn:tollgate:schema:draft-07:")
            } else {
                ("https://json-schema.org/draft/2020-12/schema", "urn:tollgate:schema:")
            };
            let id = format!("{id}{}", stem.split('.').next().unwrap());
            assert_eq!((schema["$schema"].as_str(), schema["$id"].as_str()), (Some(draft), Some(&*id)));
            assert!(schema["title"].is_string() && schema["description"].is_string(), "{file}");
            assert!(!text.contains("\"null\""), "{file} offers null");
            assert!(!old || !text.contains("$defs"), "{file} is not of its draft");
            assert!(jsonschema::meta::is_valid(&schema), "{file} is no schema of its draft");
            jsonschema::validator_for(&schema).unwrap();
        }
    }

    #[test]
    fn schemas_on_disk_are_fresh() {
        for (file, text) in super::all() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(&file);
            let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(on_disk == text, "schema/{file} is stale: run `cargo run -- schema --out schema`");
        }
    }
}
