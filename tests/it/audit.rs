//! The audit log over HTTP: filters, both orders, pages, CSV.

use serde_json::{Value, json};

use crate::harness::{Api, KEY, World};

/// A formula, for programs that take cells for one.
const FORMULA: &str = "=HYPERLINK(\"http://evil.test\")";

/// A log of ten entries or so, and what it is about.
struct Log {
    world: World,
    api: Api,
    /// The number of the entry before the test's own.
    before: u64,
    user: String,
    own: String,
    admin: String,
}

impl Log {
    fn new() -> Self {
        let world = World::new();
        let api = Api::admin(&world);
        let before = entries(&api, "").len() as u64;
        let (user, token) = api.user(FORMULA);
        let own =
            api.with(&token).done("GET /auth/me", &Value::Null)["token"]["id"].as_str().unwrap().to_owned();
        let admin = entries(&api, "order=newest&limit=1")[0].1["actor"].as_str().unwrap().to_owned();
        api.done(&format!("PATCH /admin/users/{user}"), &json!({ "group": "g" }));
        api.with(&token).done("POST /auth/tokens", &json!({ "label": "ci" }));
        api.done("PUT /admin/credentials/everybody", &json!({ "providers": { "t": { "apiKey": KEY } } }));
        world.home.done(&["user", "add", "carol"], "");
        api.user("twin");
        api.user("twin");
        Self { world, api, before, user, own, admin }
    }

    /// The numbers of the test's own entries that a query finds, in its order.
    fn found(&self, query: &str) -> Vec<u64> {
        let numbers = entries(&self.api, query).into_iter().map(|(number, _)| number);
        numbers.filter(|number| *number > self.before).map(|number| number - self.before).collect()
    }
}

fn entries(api: &Api, query: &str) -> Vec<(u64, Value)> {
    let list = api.done(&format!("GET /admin/audit?{query}"), &Value::Null);
    let entry = |(number, entry): (&String, &Value)| (number.parse().unwrap(), entry.clone());
    list.as_object().unwrap().iter().map(entry).collect()
}

#[test]
fn entries_are_found_by_their_parts() {
    let log = Log::new();
    let Log { user, own, admin, .. } = &log;
    let check = |query: &str, expected: &[u64]| {
        assert_eq!(log.found(query), expected, "{query}");
        let reverse: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(log.found(&format!("{query}&order=newest")), reverse, "{query}");
    };
    check("limit=1000", &[1, 2, 3, 4, 5, 6, 7]);
    check(&format!("actor={user}"), &[3]);
    check(&format!("actor={own}"), &[3]);
    check(&format!("actor=user+{user}+token+{own}"), &[3]);
    check("actor=%3DHYPERLINK(%22http://evil.test%22)", &[3]);
    check(&format!("actor={}", admin.replace(' ', "%20")), &[1, 2, 4, 6, 7]);
    check(admin.replacen("admin ", "actor=", 1).as_str(), &[1, 2, 4, 6, 7]);
    check("actor=tollgate", &[]);
    check("action=user.create", &[1, 5, 6, 7]);
    check("action=token.create&actor=tollgate", &[]);
    check(&format!("target={user}"), &[1, 2, 3]);
    check(&format!("target={user}&action=user.change"), &[2]);
    check("target=%3DHYPERLINK(%22http://evil.test%22)", &[1, 2, 3]);
    check("target=everybody", &[4]);
    check("target=nothing-has-this-name", &[]);
    check("source=local", &[5]);
    check("source=127.0.0.1", &[1, 2, 3, 4, 6, 7]);
    check("since=1h", &[1, 2, 3, 4, 5, 6, 7]);
    check("until=1h", &[]);
    check("since=2000-01-01&until=2000-01-01", &[]);
}

#[test]
fn a_search_that_cannot_be_right_is_refused() {
    let log = Log::new();
    let check = |query: &str, message: &str| {
        let reply = log.api.get(&format!("GET /admin/audit?{query}"));
        let shown = reply.body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(
            (reply.status, reply.body["error"]["code"].as_str()),
            (400, Some("invalid_request")),
            "{query}"
        );
        assert!(shown.starts_with(message), "{query}: {shown}");
    };
    check("acton=x", "unknown query parameter; did you mean `action`?");
    check("actor=", "?actor=: its value is empty");
    check("actor=tollgate&actor=tollgate", "?actor=: it stands there twice");
    check("actor=nobody", "?actor=: no user has this name: give the id of a user,");
    check("actor=twin", "?actor=: several users have this name: give an id");
    check("target=twin", "?target=: several users have this name: give an id");
    check(
        "action=user.creat",
        "?action=: no such action; did you mean `user.create`? All are `admin_token.create`,",
    );
    check("since=soon", "?since=: give an age (`7d`,");
    check("until=9", "?until=: give an age (`7d`,");
    check("since=2000-01-03&until=2000-01-01", "?until=: it is before `since`");
    check("since=2999-01-01", "?since=: it is in the future");
    check("order=up", "?order=: it is written `oldest` or `newest`");
    check("format=xml", "?format=: it is written `json` or `csv`");
    check("limit=x", "?limit=: a count is written in digits");
    check("after=x", "?after=: the number of an entry is written in digits");
}

#[test]
fn pages_link_to_the_next_with_the_same_filters() {
    let log = Log::new();
    let walk = |query: &str| {
        let (mut seen, mut path) = (Vec::new(), format!("/admin/audit?{query}"));
        loop {
            let page = log.api.get(&format!("GET {path}"));
            seen.extend(page.body.as_object().unwrap().keys().cloned());
            let Some(link) = page.link else { return seen };
            path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
    };
    for query in ["order=newest", "order=oldest", "action=user.create&order=newest", "source=local"] {
        let whole: Vec<_> = entries(&log.api, query).iter().map(|(number, _)| number.to_string()).collect();
        assert!(!whole.is_empty(), "{query}");
        for limit in [1, 2, 1000] {
            assert_eq!(walk(&format!("limit={limit}&{query}")), whole, "{query} by {limit}");
        }
    }
}

#[test]
fn the_command_lists_the_same_entries() {
    let log = Log::new();
    let home = &log.world.home;
    let listed = home.done(&["audit", "list", "--action", "user.create", "--limit", "2"], "");
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with(&format!("{} ", log.before + 7)), "{listed}");
    assert!(lines[0].contains(" user.create usr_") && lines[0].contains(" (twin) by admin adm_"), "{listed}");
    let csv = home.done(&["audit", "list", "--csv"], "");
    assert_eq!(csv.lines().count() as u64, 1 + log.before + 7, "{csv}");
    let json = home.done(&["audit", "list", "--json", "--target", "everybody"], "");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap().as_object().unwrap().len(), 1);
    let refused = home.run(&["audit", "list", "--actor", "nobody"], "");
    assert!(refused.code == 1 && refused.err.contains("`--actor`: no user has this name"), "{refused:?}");
}

#[test]
fn csv_has_the_same_entries_and_no_formula() {
    let log = Log::new();
    let csv = |query: &str| {
        let mut client = log.world.client();
        let token = log.api.token();
        client.send(format!(
            "GET /admin/audit?format=csv&{query} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        let answer = client.answer().unwrap();
        assert_eq!(
            (answer.head.status(), answer.head.get("content-type")),
            (200, Some("text/csv; charset=utf-8")),
            "{query}"
        );
        let link = answer.head.get("link").map(str::to_owned);
        (String::from_utf8(answer.body).unwrap(), link)
    };
    let (text, link) = csv("order=newest&limit=2&action=user.create");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "seq,at,at_ms,actor,actor_name,source,action,target,target_name,detail,hash");
    let numbers: Vec<&str> = lines[1..].iter().map(|line| line.split(',').next().unwrap()).collect();
    let last = log.before + 6;
    assert_eq!(numbers, [(last + 1).to_string(), last.to_string()]);
    let next = format!("limit=2&after={last}&format=csv&order=newest&action=user.create");
    assert_eq!(link, Some(format!("</admin/audit?{next}>; rel=\"next\"")));
    let (text, link) = csv(&format!("actor={}", log.user));
    assert!(
        link.is_none() && text.contains(",\"'=HYPERLINK(\"\"http://evil.test\"\")\",127.0.0.1,token.create,"),
        "{text}"
    );
    let [(_, entry)] = &entries(&log.api, &format!("actor={}", log.user))[..] else { panic!("one entry") };
    assert_eq!((&entry["actorName"], &entry["targetName"]), (&json!(FORMULA), &json!(FORMULA)));
    assert!(text.ends_with(&format!(",{}\n", entry["hash"].as_str().unwrap())));
}

#[test]
fn a_removed_user_is_found_by_the_name() {
    let log = Log::new();
    let remove = |name: &str| {
        let users = log.api.done("GET /admin/users", &Value::Null);
        let of_name = users.as_object().unwrap().iter().filter(|(_, user)| user["name"] == name);
        for (id, _) in of_name {
            log.api.done(&format!("DELETE /admin/users/{id}"), &Value::Null);
        }
    };
    remove("carol");
    assert_eq!(log.found("target=carol"), [5, 8]);
    assert!(log.found("actor=carol").is_empty());
    let said = log.world.home.done(&["audit", "list", "--target", "carol"], "");
    assert_eq!(said.lines().count(), 2, "{said}");
    remove("twin");
    let fault = log.api.get("GET /admin/audit?target=twin");
    let message = fault.body["error"]["message"].as_str().unwrap();
    assert!(
        fault.status == 400 && message.contains("several users had this name: give an id, such as `usr_")
    );
}
