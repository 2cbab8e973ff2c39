//! The tables of a provider file, one test each.

use super::provider;

#[test]
fn vars() {
    provider(
        r#"vars.token = { env = "TOLLGATE_MASTER_KEY" }"#,
        "TG030 1:6 `TOLLGATE_MASTER_KEY` is a setting of tollgate's own, which no file can read",
    );
    provider(
        r#"vars.token = { env = "A", file = "a" }"#,
        "TG030 1:6 var `token` has both `env` and `file`: one of them is enough",
    );
    provider("vars.token = {}", "TG030 1:6 var `token` has neither `env` nor `file`");
    provider(
        r#"vars.token = { file = "../a" }"#,
        "TG030 1:6 `file` is a plain file name below the secrets directory, without slashes",
    );
    provider(r#"vars.token = { env = "" }"#, "TG030 1:6 `env` is not the name of an environment variable");
    provider(
        r#"vars.token = { environment = "A" }"#,
        "TG010 1:16 unknown key `environment` | did you mean `env`?",
    );
    provider(
        r#"vars.Token = { env = "A" }"#,
        "TG024 1:6 `Token` cannot be a var's name: use `[a-z][a-z0-9_]*`",
    );
    provider(
        r#"vars.host = { env = "A" }"#,
        "TG024 1:6 `host` has a meaning of its own in templates: choose another name",
    );
}

#[test]
fn headers() {
    provider(
        r#"vars.token = { env = "A", optional = true }
headers.set = { x-token = "{token}" }"#,
        "TG026 2:27 var `token` is optional, and may be unset here | use it where a `when` names it, or drop `optional`",
    );
    provider(
        r#"vars.a = { env = "A" }
vars.b = { env = "B", optional = true }
headers.set = { x-a = "{a}" }"#,
        "",
    );
    provider(
        r#"headers.set = { "x y" = "1" }"#,
        "TG022 1:17 `x y` cannot be a header's name | a name is of letters, digits, `-` and `_`, without spaces or `:`",
    );
    provider(
        r#"headers.set = { host = "b.example.com" }"#,
        "TG022 1:17 `host` is the engine's own: framing and connection cannot be set",
    );
    provider(
        r#"headers.set = { X-A = "1", x-a = "2" }"#,
        "TG024 1:28 `x-a` is set twice, in different cases",
    );
    provider(
        r#"headers.set = { x-a = "a\nb" }"#,
        "TG022 1:23 a header's value cannot hold control or non-ASCII characters",
    );
    provider(
        r#"headers.set = { x-a = "{secret}" }"#,
        "TG020 1:23 `{secret}` stands for nothing here | the caller's credential is known only in an `[[auth]]` that has a `field` or a `token`",
    );
    provider(
        r#"headers.set = { x-a = "{provider" }"#,
        "TG020 1:23 `{` without `}` after it | a name stands in one pair of braces, `{name}`; a brace is never text",
    );
    provider(
        r#"headers.set = { x-a = "{provider|trim}" }"#,
        "TG020 1:23 unknown filter `trim`: the filters are `urlencode`, `base64`, `lower`, `upper`",
    );
    provider(
        r#"headers.set = { x-a = "50}" }"#,
        "TG020 1:23 `}` without `{` before it | a name stands in one pair of braces, `{name}`; a brace is never text",
    );
    provider(
        r#"headers.pass = ["authorization"]"#,
        "TG022 1:17 `authorization` cannot be let through | only forwarding and client-address headers, `cf-*`, `origin` and `referer` can",
    );
    provider(
        r#"headers.pass = ["*"]"#,
        "TG022 1:17 `*` cannot be let through | only forwarding and client-address headers, `cf-*`, `origin` and `referer` can",
    );
    provider(
        r#"headers.remove = ["x y"]"#,
        "TG022 1:19 `x y` cannot be a header's name | a name is of letters, digits, `-` and `_`, without spaces or `:`",
    );
    provider(
        r#"headers.append = { x-a = "1" }"#,
        "TG010 1:9 unknown key `append` | known here: `pass`, `remove`, `default`, `set`, `add`",
    );
    provider(
        r#"cors_headers = ["x y"]"#,
        "TG022 1:17 `x y` cannot be a header's name | a name is of letters, digits, `-` and `_`, without spaces or `:`",
    );
    provider(
        r#"caller = { headers = ["te"] }"#,
        "TG022 1:23 `te` belongs to the connection and cannot carry a token",
    );
    provider(
        r#"caller = { headers = ["x key"] }"#,
        "TG022 1:23 `x key` cannot be a header's name | a name is of letters, digits, `-` and `_`, without spaces or `:`",
    );
}

#[test]
fn gateways_and_egresses() {
    provider(
        r#"vars.base = { env = "A", optional = true }
egress = [{ when = ["bsae"], url = "{base}" }]"#,
        r"TG025 2:21 there is no var `bsae` | known vars: `base`
TG026 2:36 var `base` is optional, and may be unset here | use it where a `when` names it, or drop `optional`",
    );
    provider(
        "egress = [{ when = [], headers = { remove = [] } }]",
        "TG028 1:11 an egress that changes nothing | give it a `url`, or `headers` to set or remove",
    );
    provider(
        r#"gateway.hub = { strip = "/v2", path = "/demo{path}" }"#,
        "TG027 1:25 `/v2` is not the front of endpoint `items`'s upstream path ~ presets/base.toml:4:43 its upstream path starts `/v1/items`",
    );
    provider(
        r#"gateway.hub = { strip = "v1", path = "/demo{path}" }"#,
        "TG027 1:25 `strip` is made of whole segments: it starts with `/` and does not end with one",
    );
    provider(
        r#"gateway.hub = { path = "/demo" }"#,
        r#"TG023 1:24 cannot be a gateway's path: it does not hold `{path}`, the upstream's path | for example: "/example{path}""#,
    );
    provider(
        r#"gateway.hub = { path = "demo{path}" }"#,
        r#"TG023 1:24 cannot be a gateway's path: it does not start with `/` | for example: "/example{path}""#,
    );
    provider(
        r#"gateway.hubb = { path = "/demo{path}" }"#,
        "TG025 1:9 there is no gateway `hubb` | did you mean `hub`?",
    );
    provider(
        r#"gateway.other = { path = "/demo{path}" }"#,
        "TG025 1:9 gateway `other` has errors of its own | mend that file first",
    );
    provider(
        r#"gateway.hub = { path = "/demo{path}", when = ["here"] }"#,
        "TG025 1:47 there is no var `here` | declare it under `[vars]`",
    );
    provider(
        r#"gateway.hub = { strip = "/v1" }"#,
        r#"TG012 1:9 `hub` has no `path` | for example: path = "/example{path}""#,
    );
    provider(
        r#"egress = [{ url = "https://{url}" }]"#,
        r#"TG021 1:19 `{url}` cannot stand in a URL's host: what the proxy is called comes before it | for example: "https://egress.example.com/?target={url|urlencode}""#,
    );
    provider(
        r#"egress = [{ url = "{url}" }]"#,
        r#"TG021 1:19 `{url}` cannot stand in a URL's host: what the proxy is called comes before it | for example: "https://egress.example.com/?target={url|urlencode}""#,
    );
    let mixed = "TG021 1:19 `{url}` as it is cannot stand beside a query: the client's own would add to it | write `{url|urlencode}`";
    provider(r#"egress = [{ url = "https://e.example.com/?to={url}" }]"#, mixed);
    provider(r#"egress = [{ url = "https://e.example.com/{url}?key=1" }]"#, mixed);
    provider(r#"egress = [{ url = "https://e.example.com/{url}" }]"#, "");
    provider(r#"egress = [{ url = "https://e.example.com/?to={url|urlencode}" }]"#, "");
    provider(
        r#"egress = [{ url = "e.example.com" }]"#,
        "TG021 1:19 cannot be a URL: it does not start with `https://` or `http://`",
    );
    provider(
        r#"egress = [{ headers = { set = { connection = "close" } } }]"#,
        "TG022 1:33 `connection` is the engine's own: framing and connection cannot be set",
    );
    provider(
        r#"egress = [{ headers = { default = { a = "b" } } }]"#,
        "TG010 1:25 unknown key `default` | known here: `remove`, `set`",
    );
    provider(
        "egress = [{}]",
        "TG028 1:11 an egress that changes nothing | give it a `url`, or `headers` to set or remove",
    );
}

#[test]
fn credentials_and_auth() {
    provider(
        r#"credentials.section = "a b""#,
        r"TG025 head:2:11 `key` is no field of the credentials section | declare it under `[[credentials.field]]` ~ presets/base.toml:3:19 what that file says there
TG013 1:23 `a b` cannot be a section: use words of letters, digits, `-` and `_`, with dots",
    );
    provider(
        r#"credentials = { field = [{ name = "key" }, { name = "key" }] }
auth = []"#,
        "TG024 1:53 two fields are named `key` ~ 1:35 first declared here",
    );
    provider(
        r#"credentials = { field = [{ name = "api key" }] }
auth = []"#,
        "TG013 1:35 a field's name is made of letters, digits, `-` and `_`",
    );
    provider(
        r#"credentials = { field = [{ name = "o", kind = "oauth2" }] }
auth = []"#,
        r#"TG012 1:26 an `oauth2` field has to have `client_id` | for example: client_id = "app_123"
TG012 1:26 an `oauth2` field has to have `token_url` | for example: token_url = "https://auth.example.com/token""#,
    );
    provider(
        r#"credentials = { field = [{ name = "o", kind = "oauth" }] }
auth = []"#,
        "TG013 1:47 `kind` is none of `secret`, `text`, `origin`, `json`, `oauth2` | did you mean `oauth2`?",
    );
    provider(
        r#"credentials = { field = [{ name = "o", client_id = "x" }] }
auth = []"#,
        "TG028 1:40 `client_id` means nothing here: the field's kind is not `oauth2`",
    );
    provider(
        r#"credentials = { field = [{ name = "o", kind = "oauth2", token_url = "auth.example.com", client_id = "c", refresh_before = "48h", paste = { accessToken = "tokens" } }] }
auth = []"#,
        r"TG021 1:69 cannot be a URL: it does not start with `https://` or `http://`
TG013 1:123 `refresh_before`: it has to be at most `24h`
TG013 1:154 a JSON pointer starts with `/` (RFC 6901)",
    );
    provider(
        r#"credentials = { shared_with = ["No Name"], field = [{ name = "key" }] }"#,
        "TG025 1:32 `No Name` cannot be a provider's name",
    );
    provider(
        r#"auth = [{ field = "keys", set = { authorization = "Bearer {secret}" } }]"#,
        "TG025 1:19 `keys` is no field of the credentials section | did you mean `key`?",
    );
    provider(
        r#"auth = [{ field = "password", set = { authorization = "Bearer {secret}" } }]"#,
        "TG025 1:19 `password` is no field of the credentials section | known fields: `key`",
    );
    provider(
        "credentials = {}",
        "TG025 head:2:11 `key` is no field of the credentials section | declare it under `[[credentials.field]]` ~ presets/base.toml:3:19 what that file says there",
    );
    provider(r#"auth = [{ field = "key", set = {} }]"#, "TG028 1:26 an auth entry that sets no header");
    provider(
        r#"auth = [{ field = "key", set = { authorization = "Bearer {kye}" } }]"#,
        "TG020 1:50 `{kye}` stands for nothing here | did you mean `{key}`?",
    );
    provider(
        r#"auth = [{ field = "key", set = { "x key" = "{secret}" } }]"#,
        "TG022 1:34 `x key` cannot be a header's name | a name is of letters, digits, `-` and `_`, without spaces or `:`",
    );
    provider(
        r#"auth = [{ field = "key", set = { x-key = "geheimnis-ü" } }]"#,
        "TG022 1:42 a header's value cannot hold control or non-ASCII characters",
    );
    provider(
        r#"auth = [{ field = "key", set = { content-length = "{secret}" } }]"#,
        "TG022 1:34 `content-length` is the engine's own: framing and connection cannot be set",
    );
    provider(
        r#"auth = [{ field = "key", set = { a = "{secret}" } }, { field = "key", match = "x*", set = { b = "{secret}" } }]"#,
        "TG028 1:54 never reached: an entry above takes every `key` | give that one a `match`, or put it last ~ 1:9 this one",
    );
}

#[test]
fn endpoints() {
    provider(
        r#"endpoint.files = { method = "GET" }"#,
        "TG012 1:10 endpoint `files` has no `path` | for example: path = \"/v1/chat/completions\"",
    );
    provider(
        r#"endpoint.files = { path = "/files" }"#,
        "TG012 1:10 endpoint `files` has no `method` | for example: method = \"POST\"",
    );
    provider(
        r#"endpoint.files = { method = "FETCH", path = "/files" }"#,
        "TG013 1:29 `method` is none of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "files" }"#,
        "TG023 1:43 cannot be a path: it does not start with `/`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{id" }"#,
        "TG023 1:43 cannot be a path: `{` without `}` after it",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{ID}" }"#,
        "TG023 1:43 cannot be a path: `ID` cannot be a capture's name: use `[a-z][a-z0-9_]*`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{id}/{id}" }"#,
        "TG023 1:43 cannot be a path: it has two captures named `id`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{rest...}/more/{all...}" }"#,
        "TG023 1:43 cannot be a path: it has a second rest capture, `{all...}`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{path}" }"#,
        "TG024 1:43 `path` has a meaning of its own in templates: choose another name",
    );
    provider(
        r#"vars.id = { env = "ID" }
endpoint.files = { method = "GET", path = "/files/{id}" }"#,
        "TG024 2:43 capture `id` has the name of a var ~ 1:6 the var",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files?x=1" }"#,
        "TG023 1:43 cannot be a path: `?` cannot stand in it",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/../x" }"#,
        "TG023 1:43 cannot be a path: it has an empty or a dot segment",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{id}", aliases = ["/files"] }"#,
        "TG023 1:69 an alias needs the captures of `path`: `id`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", aliases = ["/auth/files"] }"#,
        "TG023 1:64 cannot be a client path: `/auth` is tollgate's own: choose another first segment",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", aliases = ["/{x}/files"] }"#,
        "TG023 1:64 cannot be a client path: its first segment has to be literal",
    );
}

#[test]
fn upstream_paths_and_references_of_endpoints() {
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{id}", upstream_path = "/files/{ident}" }"#,
        "TG020 1:74 `{ident}` stands for nothing here | did you mean `{id}`?",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", upstream_path = "files" }"#,
        "TG023 1:69 cannot be an upstream path: it does not start with `/`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", upstream_path = "/files?x=1" }"#,
        "TG023 1:69 cannot be an upstream path: a query is written under `query`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", upstream_path = "/a/../files" }"#,
        "TG023 1:69 cannot be an upstream path: it has a dot segment",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", api = "chats" }"#,
        "TG025 1:59 there is no api `chats` | did you mean `chat`?",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", api = "x" }"#,
        "TG025 1:59 there is no api `x` | there would have to be a file `apis/x.toml`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", api = "broken" }"#,
        "TG025 1:59 api `broken` has errors of its own | mend that file first",
    );
    provider(
        "endpoint.fils = false",
        "TG025 1:10 no preset and no endpoint set of this file has an endpoint `fils` | `false` removes an endpoint that the preset or an endpoint set has: drop the line",
    );
    provider(
        "endpoint.items = false",
        "TG012 1:1 the provider has no endpoint | add an `[endpoint.<name>]`, or a preset that has some",
    );
    provider(
        "endpoint.items = true",
        "TG013 1:18 `items` is `true`, which means nothing | write `false` to remove the preset's endpoint, or a table",
    );
    provider(
        r#"endpoint.items = "GET /items""#,
        "TG011 1:18 `items` is a string, but has to be a boolean or a table",
    );
    provider(
        r#"endpoint.again = { method = "GET", path = "/v1/items" }"#,
        "TG040 head:2:11 `GET /demo/v1/items` and `/demo/v1/items` of `demo` can match the same request | change one of the paths, or its `path_prefix` ~ 1:43 the other one",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files/{a}/{b}", aliases = ["/demo/f/{b}/{a}"] }"#,
        "",
    );
    provider(
        r#"endpoint.a = { method = "GET", path = "/x/{id}" }
endpoint.b = { method = "GET", path = "/{kind}/y" }"#,
        "TG040 2:39 `GET /demo/{kind}/y` and `/demo/x/{id}` of `demo` can match the same request | change one of the paths, or its `path_prefix` ~ 1:39 the other one",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", query = { set = { v = "{versoin}" } } }"#,
        "TG020 1:75 `{versoin}` stands for nothing here | known here: `provider`, `host`, `key`; a var is declared under `[vars]`",
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", timeouts = { first_byte = "10 s" } }"#,
        r#"TG013 1:79 `first_byte` is not written in the form that it has to have | for example: "600s""#,
    );
    provider(
        r#"endpoint.files = { method = "GET", path = "/files", timeouts = { idle = "48h" } }"#,
        "TG013 1:73 `idle`: it has to be at most `24h`",
    );
}

#[test]
fn responses_limits_and_other_tables() {
    provider(
        r#"response = [{ when = {}, reply = { status = 502, message = "no" } }]"#,
        "TG028 1:15 it holds for every answer | name a `status`, a `content_type`, or both",
    );
    provider(
        r#"response = [{ when = { status = 403 }, reply = { status = 200, message = "no" } }]"#,
        "TG013 1:59 `status` has to be at least 400 | for example: 502",
    );
    provider(
        r#"response = [{ when = { status = 403 }, reply = { status = 502, message = "{hots} said no" } }]"#,
        "TG020 1:74 `{hots}` stands for nothing here | did you mean `{host}`?",
    );
    provider(
        "response = [{ when = { status = 403 } }]",
        r#"TG012 1:13 entry 1 of `response` has no `reply` | for example: reply = { status = 502, message = "{host} refused this" }"#,
    );
    provider(
        "default = true",
        "TG028 1:1 only a preset can be the default | remove it: it says which preset a new file extends",
    );
    provider(
        r#"limits.max_body = "256MB""#,
        r#"TG013 1:19 `max_body` is not written in the form that it has to have | for example: "256MiB""#,
    );
    provider(r#"limits.max_body = "9999GiB""#, "TG013 1:19 `max_body`: it has to be at most `1024GiB`");
    provider(r#"timeouts.connect = "0s""#, "TG013 1:20 `connect`: it has to be more than nothing");
    provider(
        r#"timeouts.total = "1s""#,
        "TG010 1:10 unknown key `total` | known here: `connect`, `first_byte`, `idle`",
    );
    provider(
        r#"probe = { endpoint = "item" }"#,
        "TG025 1:22 there is no endpoint `item` | did you mean `items`?",
    );
    provider(
        "endpoint.one = { method = \"GET\", path = \"/one/{id}\" }\nprobe = { endpoint = \"one\" }",
        "TG025 2:22 the path of `one` has captures, which a probe cannot fill | name an endpoint whose path has none",
    );
    provider(
        r#"paste_token = { path = "/token", reply = "t", missing = "m", claims = {} }"#,
        r"TG025 1:1 a paste token stands for a login, but the credentials section has no `oauth2` field
TG023 1:24 it has to be `/auth/` and one segment of lower-case letters, digits and `-`",
    );
    provider(
        r#"credentials = { field = [{ name = "key", kind = "oauth2", token_url = "https://a.example.com/t", client_id = "c" }] }
paste_token = { path = "/auth/t", reply = "t", missing = "m", claims = { a = { gen = "uid" }, b = { gen = "now", suffix = "x" } } }"#,
        r"TG013 2:86 `gen` is none of `uuid`, `hex24`, `now`
TG010 2:114 a generated claim has `gen` and a text `prefix`, not `suffix`",
    );
    provider(
        r#"credentials = { field = [{ name = "key", kind = "oauth2", token_url = "https://a.example.com/t#", client_id = "c" }] }
paste_token = { path = "/auth/creds", reply = "t", missing = "m", claims = {} }"#,
        r"TG021 1:71 cannot be a URL: it has characters that a URL to call cannot have
TG023 2:24 `/auth/creds` is a path of tollgate's own",
    );
    provider(
        r#"test = [{ name = "t", request = { path = "/" } }]"#,
        r#"TG012 1:9 entry 1 of `test` has no `expect` | for example: expect = { url = "https://api.example.com/v1/models" }"#,
    );
    provider(
        "released = 2024-01-01",
        r"TG010 1:1 unknown key `released` | known here: `language`, `title`, `extends`, `include`, `default`, `base_url`, `origins`, `strip`, `path_prefix`, `path_prefixes`, `group`, `keys_url`, `key_prefixes`, `docs`, `catalogue`, `telemetry_name`, `cors_headers`, `vars`, `tls`, `caller`, `credentials`, `token`, `auth`, `endpoint`, `headers`, `gateway`, `egress`, `response`, `response_headers`, `timeouts`, `limits`, `paste_token`, `probe`, `test`
TG011 1:12 this is a date: put it in quotes, as text",
    );
    provider("limits.max_body = inf", "TG011 1:19 this is a number that is not finite");
}
