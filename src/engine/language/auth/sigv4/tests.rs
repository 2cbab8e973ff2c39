//! Signed requests of whole files: their own tests are run. The expected signatures are those of botocore.

use crate::{language::compile, shipped, tools::filetest};

const HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// A provider with these keys of `sign`, and further lines.
fn file(sign: &str, more: &str) -> String {
    format!(
        r#"
title = "Demo"
base_url = "https://demo.example"
path_prefix = "/demo"
credentials.field = [{{ name = "id" }}, {{ name = "key" }}, {{ name = "session", optional = true }}]
auth = [{{ sign = {{ kind = "aws-sigv4", service = "demo", region = "eu", key_id = "{{id}}", key = "{{key}}"{sign} }} }}]
endpoint.get = {{ method = "GET", path = "/v1/{{rest...}}" }}
endpoint.post = {{ method = "POST", path = "/v1/{{rest...}}" }}
{more}
"#
    )
}

/// A test of the file: the credentials beside the key, further keys of the request and of the test, and `expect`.
fn test(credentials: &str, request: &str, more: &str, expect: &str) -> String {
    format!(
        r#"
[[test]]
name = "t"
now = "2026-01-31T12:00:00Z"
credentials = {{ id = "AKIDEXAMPLE", key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"{credentials} }}
request = {{ method = "POST", path = "/demo/v1/a%20b", body = "hello"{request} }}
{more}
expect = {{ {expect} }}
"#
    )
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "authorization = \"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260131/eu/demo/aws4_request, SignedHeaders={signed}, Signature={signature}\""
    )
}

/// The findings about these files: those of `check`, and of their tests.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let compiled = compile::compile(&shipped::load_with(files).files);
    assert!(compiled.providers.iter().any(|one| one.name.as_str() == "demo"));
    let tests = filetest::run(&compiled);
    let all = compiled.diagnostics.iter().chain(&tests.diagnostics);
    all.filter(|one| one.is_error()).map(|one| one.message.clone()).collect()
}

fn check(sign: &str, test: &str) {
    assert_eq!(found(&[("demo.toml", &file(sign, test))]), Vec::<String>::new(), "{sign} {test}");
}

#[test]
fn requests_are_signed_as_botocore_signs_them() {
    let plain = "be79a47e806387f4cd3976514f83dd9617d52f7ac43747b73ffca9466d91f033";
    let expect = format!(
        "headers = {{ {}, x-amz-date = \"20260131T120000Z\", x-amz-content-sha256 = \"{HASH}\" }}, absent = [\"x-amz-security-token\"]",
        authorization(SIGNED, plain)
    );
    check("", &test("", "", "", &expect));
    check(", session = \"{session}\"", &test("", "", "", &expect));
    let session = "28b6bccc118d1bc6cee20b83704f7f4e5828df63c3c4cf9bd7f59d2be27f81f9";
    let signed = format!("{SIGNED};x-amz-security-token");
    let expect = format!("headers = {{ {}, x-amz-security-token = \"t\" }}", authorization(&signed, session));
    let with = test(", session = \"t\"", "", "", &expect).replace("a%20b", "a%20b//c");
    // No client reaches such a path; the upstream path of an endpoint cannot have it either.
    assert_eq!(found(&[("demo.toml", &file(", session = \"{session}\"", &with))]).len(), 1);
    let once = "acb8c1ff60f3425f571177ca374755a2e5c34802b500ab3c3395f3b4be144e75";
    let expect = format!("headers = {{ {} }}", authorization(SIGNED, once));
    check(", path = \"once\"", &test("", "", "", &expect));
    let unsigned = "e0614a4ab401f616fec56e1c1e6faf5f5b26d90a29409cf668054854becbf5b6";
    let expect = format!(
        "headers = {{ {}, x-amz-content-sha256 = \"UNSIGNED-PAYLOAD\" }}",
        authorization(SIGNED, unsigned)
    );
    check(", path = \"once\", payload = \"unsigned\"", &test("", "", "", &expect));
}

/// Its own headers are those of the client no longer; others of the service are signed.
#[test]
fn headers_of_the_client() {
    let get = ", headers = { x-amz-target = \"x\", x-amz-date = \"1\", x-amz-content-sha256 = \"2\", x-other = \"y\" }";
    let signature = "cb843087c9558ba1455e25d22f696427501997f138d42365ad4107ab7515fdf9";
    let expect = format!(
        "headers = {{ {}, x-amz-target = \"x\", x-other = \"y\" }}",
        authorization(&format!("{SIGNED};x-amz-target"), signature)
    );
    check("", &test("", get, "", &expect).replace("POST", "GET").replace(", body = \"hello\"", ""));
}

#[test]
fn gateway_and_egress_come_first() {
    let hub = |headers: &str| {
        format!(
            "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars.on = {{ env = \"ON\" }}\n{headers}\n"
        )
    };
    let check = |headers: &str, expect: &str| {
        let test = test("", "", "vars = { hub = { on = \"1\" } }", expect);
        let demo = file("", &format!("gateway.hub = {{ path = \"/g{{path}}\" }}\n{test}"));
        assert_eq!(
            found(&[("demo.toml", &demo), ("gateways/hub.toml", &hub(headers))]),
            Vec::<String>::new()
        );
    };
    let signature = "f4fe9c3d4638220ec0092f48b3cb8757c82f2baa7b295bbabdc678ffb24cbafa";
    let signed = format!("headers = {{ {} }}", authorization(SIGNED, signature));
    check("", &signed);
    check("headers.set = { x-hub = \"1\" }", &signed);
    check(
        "headers.set = { authorization = \"hub\" }",
        "headers = { authorization = \"hub\", x-amz-date = \"20260131T120000Z\" }",
    );
    check("headers.remove = [\"authorization\", \"x-amz-*\"]", "absent = [\"authorization\", \"x-amz-*\"]");
}

#[test]
fn a_value_that_no_signature_can_name_is_not_sent() {
    for value in ["a b", "a/b", "a,b", "a=b", "é", "\\n"] {
        let test = test("", "", "", "code = \"credential_missing\"").replace("AKIDEXAMPLE", value);
        check("", &test);
    }
}

/// A body that asks for usage is signed as it is sent.
#[test]
fn the_changed_body_is_signed() {
    let body = ", body = { stream = true }";
    let hash = crate::base::hex::encode(
        &super::super::BodyHash::of(br#"{"stream":true,"stream_options":{"include_usage":true}}"#).0,
    );
    let expect = format!("headers = {{ x-amz-content-sha256 = \"{hash}\" }}");
    let test = test("", body, "", &expect).replace(", body = \"hello\"", "");
    let asks = "[endpoint.post]\nmethod = \"POST\"\npath = \"/v1/{rest...}\"\napi = \"chat-completions\"\nwhen_missing = \"ask\"\n";
    let demo = file("", &format!("{asks}{test}"));
    let post = "endpoint.post = { method = \"POST\", path = \"/v1/{rest...}\" }\n";
    assert_eq!(found(&[("demo.toml", &demo.replace(post, ""))]), Vec::<String>::new());
}

#[test]
fn the_documented_file_passes() {
    let text = include_str!("../../../../../docs/provider-files.md");
    let mark = "<!-- signing: run by src/engine/language/auth/sigv4/tests.rs -->\n```toml\n";
    let (block, _) = text.split_once(mark).unwrap().1.split_once("```").unwrap();
    assert_eq!(found(&[("demo.toml", block)]), Vec::<String>::new());
}
