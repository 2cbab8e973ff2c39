//! The document of an endpoint set: endpoints that several providers have, with the tests of them. The doc comments of keys
//! are its reference: they become the descriptions in the schema.
//!
//! Read next: `compile/provider/layers`, which puts the endpoints into the providers that include them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Endpoint, Provider, Test, file_test::example_test};

/// An endpoint set: endpoints that several providers have. Provider files and presets name it in `include`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate endpoints")]
pub struct EndpointSet {
    /// The version of the language that the file is written in.
    #[schemars(example = 1, range(min = 1, max = 1))]
    pub language: Option<u32>,
    /// The display name.
    #[schemars(example = &"Example files")]
    pub title: String,
    /// The documentation of these endpoints.
    #[schemars(example = &"https://example.com/docs")]
    pub docs: Option<String>,
    /// The endpoints by name. A provider can have one endpoint of a name: put the subject of the set in front.
    #[schemars(example = json!({ "file_list": { "method": "GET", "path": "/v1/files" } }))]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 2000))]
    pub endpoint: BTreeMap<String, Endpoint>,
    /// The provider of the tests that have none of their own. Its name is `fixture`. It includes this set.
    #[schemars(example = json!({ "title": "Fixture" }))]
    pub fixture: Option<Box<Provider>>,
    /// Tests of the file. Each runs against the provider in `[fixture]`, or one of its own in `[test.provider]`.
    #[schemars(example = example_test())]
    #[schemars(extend("maxItems" = 2000))]
    pub test: Option<Vec<Test>>,
}
