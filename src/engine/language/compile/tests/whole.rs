//! Whole files: required keys, presets, base URLs and prefixes, shared files, and conflicts between files.

use super::{api, gateway, two, whole};

#[test]
fn whole_files() {
    whole(
        "",
        r#"TG012 1:1 the file has no `base_url` | for example: base_url = "https://api.example.com"
TG012 1:1 the file has no `path_prefix` | for example: path_prefix = "/proxy/{provider}"; a preset may have it too
TG012 1:1 the file has no `title` | for example: title = "Example AI""#,
    );
    whole(
        r#"title = "Demo"
base_url = "https://a.example.com""#,
        r#"TG012 1:1 the file has no `path_prefix` | for example: path_prefix = "/proxy/{provider}"; a preset may have it too"#,
    );
    whole(
        r#"title = "Demo"
path_prefix = "/demo"
base_url = "https://a.example.com""#,
        "TG012 1:1 the provider has no endpoint | add an `[endpoint.<name>]`, or a preset that has some",
    );
    whole(
        r#"extends = "base""#,
        r#"TG012 1:1 the file has no `base_url`, and its preset has none | for example: base_url = "https://api.example.com"
TG012 1:1 the file has no `title` | for example: title = "Example AI""#,
    );
    whole(
        r#"title = "Demo"
extends = "bass"
base_url = "https://a.example.com""#,
        "TG025 2:11 there is no preset `bass` | did you mean `base`?",
    );
    whole(
        r#"title = "Demo"
extends = "Nothing Like It"
base_url = "https://a.example.com""#,
        "TG025 2:11 there is no preset `Nothing Like It` | there would have to be a file `presets/Nothing Like It.toml`",
    );
    whole(
        r#"title = "Demo"
extends = "broken"
base_url = "https://a.example.com""#,
        "TG025 2:11 preset `broken` has errors of its own | mend that file first",
    );
    whole(
        r#"title = "Demo"
extends = "layered"
base_url = "https://a.example.com""#,
        "TG025 2:11 preset `layered` extends a preset itself, and only one level is allowed | drop that line, and write what it would have brought into the preset itself ~ presets/layered.toml:1:1 the preset's own",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_ulr = "https://a.example.com""#,
        "TG010 3:1 unknown key `base_ulr` | did you mean `base_url`?",
    );
    whole(
        r#"title = "Demo
extends = "base""#,
        r#"TG003 1:14 a text is not closed on its line | it ends in `"`"#,
    );
    whole(
        r#"title = "Demo"
title = "Again""#,
        "TG003 2:1 `title` is written twice | keep one of them, or join both ~ 1:1 first written here",
    );
    whole(
        r"language = 3
new_key = 1",
        "TG014 1:12 this file wants language 3: this tollgate knows 2 | upgrade tollgate",
    );
    whole(
        r#"language = "1""#,
        "TG011 1:12 `language` is a string, but has to be an integer | for example: 2",
    );
}

#[test]
fn base_urls() {
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "api.example.com""#,
        "TG021 3:12 cannot be a base URL: it does not start with `https://` or `http://` | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "ftp://a.example.com""#,
        "TG021 3:12 cannot be a base URL: it does not start with `https://` or `http://` | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com/v1?x=1""#,
        "TG021 3:12 a base URL has no query and no fragment | what each request carries in its query stands in an endpoint's `query`",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://user:pw@a.example.com""#,
        "TG021 3:12 cannot be a base URL: it has user information before the host | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a..example.com""#,
        "TG021 3:12 cannot be a base URL: its host is not a DNS name or an IP address | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://127.1""#,
        "TG021 3:12 cannot be a base URL: its host ends like an IPv4 address, but is none | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com:99999""#,
        "TG021 3:12 cannot be a base URL: its port is not a number from 1 to 65535 | for example: \"https://api.example.com/v1\"",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com//v1""#,
        "TG021 3:12 a base URL's path is plain: no `//`, no `..`, no space or control character",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://{region}.example.com""#,
        "TG020 3:12 `{region}` stands for nothing here | known here: `provider`, `key`; a var is declared under `[vars]`",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com/{model""#,
        "TG020 3:12 `{` without `}` after it | a name stands in one pair of braces, `{name}`; a brace is never text",
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com/../x""#,
        "TG021 3:12 a base URL's path is plain: no `//`, no `..`, no space or control character",
    );
}

#[test]
fn prefixes() {
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "proxy""#,
        r#"TG023 4:15 cannot be a prefix: it does not start with `/` | for example: "/proxy/{provider}""#,
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "/""#,
        r#"TG023 4:15 cannot be a prefix: it has an empty or a dot segment | for example: "/proxy/{provider}""#,
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "/admin/demo""#,
        r#"TG023 4:15 cannot be a prefix: `/admin` is tollgate's own: choose another first segment | for example: "/proxy/{provider}""#,
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "/a/{model}""#,
        r#"TG023 4:15 cannot be a prefix: it holds a capture | for example: "/proxy/{provider}""#,
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "/a//b""#,
        r#"TG023 4:15 cannot be a prefix: it has an empty or a dot segment | for example: "/proxy/{provider}""#,
    );
    whole(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
path_prefix = "/a b""#,
        r#"TG023 4:15 cannot be a prefix: ` ` cannot stand in it | for example: "/proxy/{provider}""#,
    );
}

#[test]
fn shared_files() {
    gateway(
        r#"base_url = "https://g.example.com"
vars = {}"#,
        r#"TG012 1:1 the file has no `title` | for example: title = "Example Gateway""#,
    );
    gateway(
        r#"title = "G"
base_url = "https://g.example.com"
vars = {}"#,
        "TG028 3:1 a gateway without vars, or with a default for each, would always be used | give it at least one var",
    );
    gateway(
        r#"title = "G"
base_url = "https://g.example.com/{acount}"
vars = { account = { env = "A" } }"#,
        "TG020 2:12 `{acount}` stands for nothing here | did you mean `{account}`?",
    );
    gateway(
        r#"title = "G"
base_url = "https://g.example.com"
vars = { url = { env = "A" } }"#,
        "TG024 3:10 `url` has a meaning of its own in templates: choose another name",
    );
    gateway(
        r#"title = "G"
base_url = "https://g.example.com"
vars = { a = { env = "A" } }
headers.set = { te = "{a}" }"#,
        "TG022 4:17 `te` is the engine's own: framing and connection cannot be set",
    );
    gateway(
        r#"title = "G"
base_url = "https://g.example.com"
vars = { a = { env = "A" } }
[[test]]
name = "t"
request = { path = "/" }
expect = {}"#,
        "TG012 4:1 test `t` brings no provider | a file that is no provider is tested through a provider of the test's own: add `[test.provider]`",
    );
    api(
        r#"title = "A""#,
        r#"TG012 1:1 the file has no `error` | for example: error = { body = { message = "{message}" } }"#,
    );
    api(
        r#"title = "A"
error.body = { message = "{msg}" }"#,
        "TG020 2:26 `{msg}` stands for nothing here: known are `message`, `code`, `type`, `status`, `request_id`",
    );
    api(
        r#"title = "A"
error.body = { message = "{message" }"#,
        "TG020 2:26 `{` without `}` after it",
    );
    api(
        r#"title = "A"
error = { body = { message = "{message}" }, types = { 200 = "ok" } }"#,
        "TG013 2:55 `200` is neither a status from 400 to 599 nor `default`",
    );
    api(
        r#"title = "A"
error = { body = { message = "{message}" }, types = { default = 1 } }"#,
        "TG011 2:65 `default` is an integer, but has to be a string",
    );
}

#[test]
fn files_with_conflicting_paths() {
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
path_prefix = "/demo""#,
        "TG040 other.toml:4:15 `GET /demo/v1/items` and `/demo/v1/items` of `demo` can match the same request | change one of the paths, or its `path_prefix` ~ 2:11 the other one",
    );
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
endpoint.items.aliases = ["/demo/v1/{any}"]
endpoint.items.path = "/x/{any}""#,
        "",
    );
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
endpoint.items.path = "/x"
endpoint.items.aliases = ["/demo/v1/items"]"#,
        "TG040 other.toml:5:27 `GET /demo/v1/items` and `/demo/v1/items` of `demo` can match the same request | change one of the paths, or its `path_prefix` ~ 2:11 the other one",
    );
}

#[test]
fn files_that_share_a_section() {
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = { section = "s", field = [{ name = "key" }] }
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
credentials = { section = "s", field = [{ name = "key" }] }"#,
        "TG041 4:27 `other` uses the section `s` too, and does not name `demo` in `shared_with` | a key stored there would go to both: name `demo` in `other`'s `shared_with`, or use another section ~ other.toml:4:27 the other one
TG041 other.toml:4:27 `demo` uses the section `s` too, and does not name `other` in `shared_with` | a key stored there would go to both: name `other` in `demo`'s `shared_with`, or use another section ~ 4:27 the other one",
    );
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = { section = "s", field = [{ name = "key", label = "A" }], shared_with = ["other"] }
=====
title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = { section = "s", field = [{ name = "key", label = "B" }], shared_with = ["demo"] }"#,
        "TG041 other.toml:4:50 field `key` of section `s` is declared differently ~ 4:50 the other declaration",
    );
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = { section = "s", shared_with = ["other"], field = [{ name = "key" }] }
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
credentials = { section = "s", field = [{ name = "key" }] }"#,
        "TG041 4:27 `other` uses the section `s` too, and does not name `demo` in `shared_with` | a key stored there would go to both: name `demo` in `other`'s `shared_with`, or use another section ~ other.toml:4:27 the other one",
    );
}

#[test]
fn findings_in_a_preset_that_two_files_extend() {
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = { field = [{ name = "other" }] }
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com""#,
        "TG025 2:11 `key` is no field of the credentials section | known fields: `other` ~ presets/base.toml:3:19 what that file says there",
    );
    two(
        r#"title = "Demo"
extends = "base"
base_url = "https://a.example.com"
credentials = {}
=====
title = "Demo"
extends = "base"
base_url = "https://b.example.com"
credentials = {}"#,
        "TG025 presets/base.toml:3:19 `key` is no field of the credentials section | declare it under `[[credentials.field]]`",
    );
}
