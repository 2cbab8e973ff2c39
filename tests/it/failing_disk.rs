//! A disk that is full or fails, and a database that another process holds, at every change of the API. While it lasts, a
//! change fails with a fault of its own and changes nothing; afterwards the same call succeeds, without a restart.

use std::{
    cell::Cell,
    fs,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tollgate::admin::{OPERATIONS, OperationId as Id};

use crate::{
    harness::{
        Api, DiskFault, FaultyDisk, Gateway, Home, KEY, connect, eventually, over_socket, provider_with_login,
    },
    pages::{post, sign_in, text},
};

const DATABASE: &str = "/data/tollgate.db";
const UNCHANGED: (&str, &str) =
    ("store_unavailable", "The store is unavailable, and nothing was changed; try again");
const UNCONFIRMED: (&str, &str) = (
    "change_unconfirmed",
    "The store failed during this change: it is not in effect, but may be after a crash of tollgate; try again, and after a crash check whether it was made",
);

/// A limit that grants can be for. No request is ever counted in it.
const LIMITS: &str = "[[limit]]\nid = \"per-user\"\nrequests = 100\nwindow = \"total\"\n";

/// A gateway on a disk that can fail.
struct Failing {
    home: Home,
    gateway: Gateway,
    disk: FaultyDisk,
    admin: Api,
    /// The port that the provider leads to.
    port: Cell<u16>,
    /// The number of users.
    users: Cell<u32>,
}

/// A provider that takes a login or a key, and that has paste tokens.
fn file(port: u16) -> String {
    let provider = provider_with_login(&format!("http://127.0.0.1:{port}"), "http://127.0.0.1:9/token");
    let paste_token = r#"
[paste_token]
path = "/auth/t-token"
reply = "tToken"
missing = "No login"
[paste_token.claims]
sub = "t"
"#;
    provider + paste_token
}

fn key() -> Value {
    json!({ "providers": { "t": { "apiKey": KEY } } })
}

fn login() -> Value {
    let login = json!({ "accessToken": "a1", "refreshToken": "r1", "expiresAt": 4_102_444_800_000_u64 });
    json!({ "providers": { "t": { "login": login } } })
}

/// A call that would succeed.
struct Call {
    api: Api,
    line: String,
    body: Value,
    /// True if it changes something only after the provider has moved.
    after_move: bool,
}

impl Call {
    fn send(&self) -> (u16, Value) {
        let reply = if self.body.is_null() {
            self.api.get(&self.line)
        } else {
            self.api.call(&self.line, &self.body)
        };
        (reply.status, reply.body)
    }

    fn fails(&self, (code, message): (&str, &str)) {
        let (status, body) = self.send();
        let error = &body["error"];
        let seen = (status, error["code"].as_str(), error["message"].as_str());
        assert_eq!(seen, (503, Some(code), Some(message)), "{}", self.line);
    }

    fn succeeds(&self) -> Value {
        let (status, body) = self.send();
        assert!(status < 300, "{}: {status} {body}", self.line);
        body
    }
}

impl Failing {
    fn new() -> Self {
        let (home, disk) = (Home::new(&[("t", &file(1))]), FaultyDisk::new());
        home.write_limits("limits", LIMITS);
        let gateway = serve(&home, &disk);
        let admin = fs::read_to_string(home.data().join("admin-token")).unwrap();
        let admin = Api::new(gateway.address, admin.trim_end());
        Self { home, gateway, disk, admin, port: Cell::new(1), users: Cell::new(0) }
    }

    /// A new user: the id, and the user's own calls.
    fn user(&self) -> (String, Api) {
        self.users.set(self.users.get() + 1);
        let (id, token) = self.admin.user(&format!("user {}", self.users.get()));
        (id, self.admin.with(&token))
    }

    /// Leads the provider to another origin.
    fn move_provider(&self) {
        self.port.set(3 - self.port.get());
        self.home.write("t", &file(self.port.get()));
        assert_eq!(over_socket(&self.home.data(), "POST /admin/reload").0, 200);
    }

    /// The body of a confirmation, once the provider has moved.
    fn confirmation(&self) -> Value {
        json!({ "origins": { "providers.t.apiKey": [format!("http://127.0.0.1:{}", 3 - self.port.get())] } })
    }

    /// The call of an operation, with all that it needs. None for one that changes nothing in the store by itself.
    #[expect(clippy::too_many_lines, reason = "a table with a row for each operation")]
    fn call(&self, operation: Id) -> Option<Call> {
        let admin = |line: String, body| Call { api: self.admin.clone(), line, body, after_move: false };
        let (everybody, group) = ("/admin/credentials/everybody", "/admin/credentials/groups/g");
        let moved = |path: &str| {
            self.admin.done(&format!("PUT {path}"), &key());
            Some(Call { after_move: true, ..admin(format!("POST {path}/confirm"), self.confirmation()) })
        };
        let users = |method: &str, path: &str, body| {
            let (id, _) = self.user();
            Some(admin(format!("{method} /admin/users/{id}{path}"), body))
        };
        let own = |line: &str, body| {
            let (_, api) = self.user();
            Some(Call { api, line: line.to_owned(), body, after_move: false })
        };
        let text = |document: &Value, key: &str| document[key].as_str().unwrap().to_owned();
        match operation {
            Id::CreateUser => {
                Some(admin("POST /admin/users".into(), json!({ "name": "new", "creds": key() })))
            }
            Id::UpdateUser => users("PATCH", "", json!({ "disabled": true })),
            Id::DeleteUser => users("DELETE", "", Value::Null),
            Id::ReplaceUserCreds => users("PUT", "/creds", key()),
            Id::MergeUserCreds => users("PATCH", "/creds", key()),
            Id::ConfirmUserCreds => moved(&format!("/admin/users/{}/creds", self.user().0)),
            Id::CreateUserToken => users("POST", "/tokens", json!({})),
            Id::RevokeUserToken => {
                let path = format!("/admin/users/{}/tokens", self.user().0);
                let token = text(&self.admin.done(&format!("POST {path}"), &json!({})), "id");
                Some(admin(format!("DELETE {path}/{token}"), Value::Null))
            }
            Id::ReplaceSharedCreds => Some(admin(format!("PUT {everybody}"), key())),
            Id::MergeSharedCreds => Some(admin(format!("PATCH {everybody}"), key())),
            Id::ConfirmSharedCreds => moved(everybody),
            Id::ReplaceGroupCreds => Some(admin(format!("PUT {group}"), key())),
            Id::MergeGroupCreds => Some(admin(format!("PATCH {group}"), key())),
            Id::ConfirmGroupCreds => moved(group),
            Id::CreateAdminToken => Some(admin("POST /admin/tokens".into(), json!({}))),
            Id::RevokeAdminToken => {
                let token = text(&self.admin.done("POST /admin/tokens", &json!({})), "id");
                Some(admin(format!("DELETE /admin/tokens/{token}"), Value::Null))
            }
            // A login brings a paste token with it.
            Id::MergeMyCreds => own("PUT /auth/creds", login()),
            Id::ConfirmMyCreds => {
                let call = own("POST /auth/creds/confirm", self.confirmation())?;
                call.api.done("PUT /auth/creds", &key());
                Some(Call { after_move: true, ..call })
            }
            Id::GrantLimit => {
                let grant = json!({ "user": self.user().0, "limit": "per-user", "amount": 5, "until": "2h" });
                Some(admin("POST /admin/limits/grants".into(), grant))
            }
            Id::EndLimitGrants => {
                let (user, _) = self.user();
                let grant = json!({ "user": user, "limit": "per-user", "amount": 5, "until": "2h" });
                self.admin.done("POST /admin/limits/grants", &grant);
                Some(admin(format!("DELETE /admin/limits/grants/per-user/{user}"), Value::Null))
            }
            Id::StartMySession => own("POST /auth/session", Value::Null),
            Id::EndMySession => {
                let call = own("DELETE /auth/session", Value::Null)?;
                Some(Call { api: call.api.signed_in("/auth/session"), ..call })
            }
            Id::StartAdminSession => Some(admin("POST /admin/session".into(), Value::Null)),
            Id::EndAdminSession => {
                let call = admin("DELETE /admin/session".into(), Value::Null);
                Some(Call { api: call.api.signed_in("/admin/session"), ..call })
            }
            Id::RotateMyToken => own("POST /auth/rotate", Value::Null),
            Id::CreateMyToken => own("POST /auth/tokens", json!({})),
            Id::RevokeMyToken => {
                let (_, api) = self.user();
                let token = text(&api.done("POST /auth/tokens", &json!({})), "id");
                let line = format!("DELETE /auth/tokens/{token}");
                Some(Call { api, line, body: Value::Null, after_move: false })
            }
            Id::CreatePasteToken => {
                let call = own("POST /auth/t-token", Value::Null)?;
                call.api.done("PUT /auth/creds", &login());
                Some(call)
            }
            // A rotation of the master key has a test of its own. The others read, or need no store.
            Id::StartRekey
            | Id::GetRekeyStatus
            | Id::Liveness
            | Id::Readiness
            | Id::Files(_)
            | Id::GetOverview
            | Id::StreamEvents
            | Id::ListUsers
            | Id::CountUsers
            | Id::ListUnconfirmedCreds
            | Id::ListCreds
            | Id::GetUserAccess
            | Id::GetMyAccess
            | Id::ListGroups
            | Id::ListEndpoints
            | Id::GetUsage
            | Id::GetRecentUsage
            | Id::GetMyUsage
            | Id::GetLimits
            | Id::GetMyLimits
            | Id::GetMyRecentUsage
            | Id::GetFields
            | Id::GetMyFields
            | Id::ListMyProviders
            | Id::ProbeMyProvider
            | Id::GetUser
            | Id::GetUserCreds
            | Id::GetUnconfirmedUserCreds
            | Id::GetUnconfirmedSharedCreds
            | Id::GetUnconfirmedGroupCreds
            | Id::GetUnconfirmedMyCreds
            | Id::ListUserTokens
            | Id::GetSharedCreds
            | Id::GetGroupCreds
            | Id::ListAdminTokens
            | Id::ListAudit
            | Id::GetMe
            | Id::GetMyCreds
            | Id::ListMyTokens
            | Id::GetProvider
            | Id::GetFindings
            | Id::Explain
            | Id::Check => None,
        }
    }

    /// Everything in the store but times of last use, as another process sees it.
    fn state(&self) -> String {
        self.home.database(
            "SELECT coalesce(group_concat(line, char(10)), '') FROM (
             SELECT 'user ' || id || name || coalesce(disabled_at, '') AS line FROM users
             UNION ALL SELECT 'token ' || hash || coalesce(expires_at, '') || coalesce(replaced_at, '') FROM tokens
             UNION ALL SELECT 'paste ' || hash || coalesce(expires_at, '') FROM paste_tokens
             UNION ALL SELECT 'admin ' || hash FROM admin_tokens
             UNION ALL SELECT 'credential ' || owner || section || field || hex(sealed) || origins FROM credentials
             UNION ALL SELECT 'audit ' || hash FROM audit
             UNION ALL SELECT 'grant ' || limit_id || user_id || amount || until FROM limit_grants
             UNION ALL SELECT 'change ' || seq FROM changes
             ORDER BY 1)",
        )
    }
}

fn serve(home: &Home, disk: &FaultyDisk) -> Gateway {
    let env = disk.env();
    home.serve_with(&[], &env.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// The operations that change the store.
fn changes(world: &Failing) -> Vec<Id> {
    let all: Vec<Id> =
        OPERATIONS.iter().map(|operation| operation.id).filter(|id| world.call(*id).is_some()).collect();
    assert!(all.len() >= 26, "{all:?}");
    all
}

/// Every change fails while the disk does, and succeeds afterwards. Returns the longest time to the success.
fn every_change(fault: DiskFault, expected: (&str, &str)) {
    let world = Failing::new();
    let mut slowest = Duration::ZERO;
    for operation in changes(&world) {
        let call = world.call(operation).unwrap();
        if call.after_move {
            world.move_provider();
        }
        let before = world.state();
        world.disk.fail(fault, DATABASE);
        call.fails(expected);
        // Once more: the first failure has left nothing behind.
        call.fails(expected);
        assert_eq!(world.state(), before, "{operation:?}");
        world.disk.mend();
        let mended = Instant::now();
        call.succeeds();
        slowest = slowest.max(mended.elapsed());
        assert_ne!(world.state(), before, "{operation:?}");
    }
    world.home.done(&["audit", "verify"], "");
    eprintln!("{fault:?}: at most {slowest:?} from the end of the fault to the answer of a change");
}

#[test]
fn changes_on_a_full_disk_fail_and_succeed_afterwards() {
    every_change(DiskFault::Full, UNCHANGED);
}

#[test]
fn changes_with_failing_writes_fail_and_succeed_afterwards() {
    every_change(DiskFault::Write, UNCONFIRMED);
}

#[test]
fn changes_with_failing_syncs_fail_and_succeed_afterwards() {
    every_change(DiskFault::Sync, UNCONFIRMED);
}

/// Each change waits five seconds for the lock, so several gateways share them.
#[test]
fn changes_of_a_locked_database_fail_and_succeed_afterwards() {
    const GATEWAYS: usize = 8;
    let share = |number: usize| {
        let world = Failing::new();
        let all = changes(&world);
        for operation in all.iter().skip(number).step_by(GATEWAYS) {
            let call = world.call(*operation).unwrap();
            if call.after_move {
                world.move_provider();
            }
            let before = world.state();
            let lock = Lock::take(&world.home);
            call.fails(UNCHANGED);
            lock.release();
            assert_eq!(world.state(), before, "{operation:?}");
            call.succeeds();
            assert_ne!(world.state(), before, "{operation:?}");
        }
    };
    thread::scope(|scope| (0..GATEWAYS).for_each(|number| drop(scope.spawn(move || share(number)))));
}

/// The write lock of a database, held by another process than the gateway.
pub struct Lock(tokio::runtime::Runtime, SqliteConnection);

impl Lock {
    /// Takes the lock, which nobody holds.
    pub fn take(home: &Home) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = home.data().join("tollgate.db");
        let connection = runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            connection
        });
        Self(runtime, connection)
    }

    /// Releases the lock.
    pub fn release(self) {
        self.0.block_on(self.1.close()).unwrap();
    }
}

/// A page says what became of a change as the API does.
#[test]
fn a_page_claims_no_more_than_the_api_about_a_change_that_fails() {
    let world = Failing::new();
    let token = fs::read_to_string(world.home.data().join("admin-token")).unwrap();
    let cookie = sign_in(world.gateway.address, "/console", token.trim_end());
    let (id, _) = world.user();
    let forms = [
        ("/console/users".to_owned(), "name=new"),
        (format!("/console/users/{id}"), "name=other&was_name=user+1"),
        ("/console/tokens".to_owned(), "label=new"),
    ];
    for (path, form) in &forms {
        for (fault, is_known) in [(DiskFault::Full, true), (DiskFault::Sync, false)] {
            world.disk.fail(fault, DATABASE);
            let answer = post(world.gateway.address, path, &cookie, form);
            world.disk.mend();
            let page = text(&answer);
            assert_eq!(answer.head.status(), 503, "{path} {fault:?}: {page}");
            assert_eq!(page.contains("Nothing was changed."), is_known, "{path} {fault:?}: {page}");
            assert!(is_known || page.contains(UNCONFIRMED.1), "{path}: {page}");
        }
    }
}

/// The kinds of what needs attention, and the problem of the store in the status.
fn attention(world: &Failing) -> (Vec<String>, Option<String>) {
    let overview = world.admin.done("GET /admin/overview", &Value::Null);
    let kinds = overview["attention"].as_array().unwrap().iter();
    let kinds = kinds.map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect();
    // The day can be read from a disk that is full.
    assert!(overview["day"].is_object(), "{overview}");
    let (_, status) = over_socket(&world.home.data(), "GET /admin/providers");
    (kinds, status["store_problem"].as_str().map(str::to_owned))
}

#[test]
fn a_full_disk_needs_attention_until_a_write_succeeds() {
    let world = Failing::new();
    assert_eq!(attention(&world), (vec![], None));
    for (fault, part) in [(DiskFault::Full, "no space left"), (DiskFault::Sync, "disk error")] {
        let call = world.call(Id::CreateAdminToken).unwrap();
        world.disk.fail(fault, DATABASE);
        let (status, _) = call.send();
        assert_eq!(status, 503, "{fault:?}");
        let (kinds, problem) = attention(&world);
        let problem = problem.unwrap_or_default();
        assert!(kinds.contains(&"store".to_owned()), "{fault:?}: {kinds:?}");
        assert!(problem.starts_with("the last write failed: ") && problem.contains(part), "{problem}");
        world.disk.mend();
        call.succeeds();
        eventually("nothing needs attention", || attention(&world) == (vec![], None));
    }
}

/// A revoked token stays valid if its revocation fails, and no longer than that.
#[test]
fn a_revocation_works_as_soon_as_the_disk_does() {
    let world = Failing::new();
    for fault in [DiskFault::Full, DiskFault::Sync] {
        let (id, own) = world.user();
        own.done("GET /auth/me", &Value::Null);
        let path = format!("DELETE /admin/users/{id}");
        world.disk.fail(fault, DATABASE);
        assert_eq!(world.admin.get(&path).status, 503);
        own.done("GET /auth/me", &Value::Null);
        world.disk.mend();
        assert_eq!(world.admin.get(&path).status, 200);
        assert_eq!(own.get("GET /auth/me").status, 401);
    }
}

/// Reads fail too, and the connections that failed are not used again.
#[test]
fn reads_fail_and_succeed_afterwards() {
    let world = Failing::new();
    world.disk.fail(DiskFault::Read, DATABASE);
    // Each connection of the pool has to read what it does not have in memory.
    let reads = ["GET /admin/users", "GET /admin/audit", "GET /admin/tokens"];
    assert!(reads.map(|line| world.admin.get(line).status).contains(&503));
    world.disk.mend();
    for line in reads {
        assert_eq!(world.admin.get(line).status, 200);
    }
    world.user();
}

/// The write-ahead log has the change when its sync fails. It is not in effect, neither here nor for others. If the process
/// crashes before the next write, the next one may find all of it; otherwise none of it.
#[test]
fn a_change_of_unknown_outcome_is_whole_or_absent_after_a_crash() {
    for another_follows in [false, true] {
        let mut world = Failing::new();
        let create = world.call(Id::CreateUser).unwrap();
        world.disk.fail(DiskFault::Sync, DATABASE);
        create.fails(UNCONFIRMED);
        assert_eq!(world.admin.done("GET /admin/users", &Value::Null), json!({}));
        world.disk.mend();
        if another_follows {
            world.user();
        }
        world.gateway.signal(Signal::KILL);
        world.gateway.exit();
        world.gateway = serve(&world.home, &world.disk);
        let count = |query| world.home.database(query).parse::<u32>().unwrap();
        // The time of last use of the admin's token may be that next write, also one that fails.
        let found = count("SELECT count(*) FROM users WHERE name = 'new'");
        assert!(found <= u32::from(!another_follows));
        let users = found + u32::from(another_follows);
        assert_eq!(count("SELECT count(*) FROM users"), users);
        assert_eq!(count("SELECT count(*) FROM tokens"), users);
        assert_eq!(count("SELECT count(*) FROM credentials"), found);
        assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'user.create'"), users);
        world.home.done(&["audit", "verify"], "");
    }
}

/// A client of the control socket hangs up while its change is committed.
#[test]
fn a_change_whose_client_hangs_up_during_the_commit_is_made() {
    let world = Failing::new();
    let (id, own) = world.user();
    own.done("GET /auth/me", &Value::Null);
    let log = world.home.data().join("tollgate.db-wal");
    let written = || fs::metadata(&log).unwrap().modified().unwrap();
    let before = written();
    world.disk.fail(DiskFault::SyncHangs, DATABASE);
    let mut client = connect(&world.home.data());
    write!(client, "DELETE /admin/users/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // The write-ahead log is written, and synced next.
    eventually("the change is written", || written() > before);
    drop(client);
    // Whoever is known is served meanwhile, and the other change fails in time.
    own.done("GET /auth/me", &Value::Null);
    world.admin.fails("POST /admin/tokens", &json!({}), (503, UNCHANGED.0, UNCHANGED.1));
    own.done("GET /auth/me", &Value::Null);
    world.disk.mend();
    eventually("the user is gone", || own.get("GET /auth/me").status == 401);
    world.gateway.logged("user.delete");
    world.user();
    world.home.done(&["audit", "verify"], "");
}

/// A client of the control socket hangs up while its change waits for the lock of another process.
#[test]
fn a_change_whose_client_hangs_up_before_the_commit_blocks_no_other() {
    let world = Failing::new();
    let (id, own) = world.user();
    let lock = Lock::take(&world.home);
    let mut client = connect(&world.home.data());
    write!(client, "DELETE /admin/users/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // It has a thread of its own for the connection that waits.
    world.admin.done("GET /admin/users", &Value::Null);
    drop(client);
    lock.release();
    world.user();
    // It was made whole, or not at all.
    let there = own.get("GET /auth/me").status == 200;
    let listed = world.admin.done("GET /admin/users", &Value::Null).as_object().unwrap().contains_key(&id);
    assert_eq!(there, listed);
    world.home.done(&["audit", "verify"], "");
}

/// A rotation of the master key that fails at any point is resumed by the same command, without a restart.
#[test]
fn a_rotation_of_the_master_key_is_resumed_when_the_disk_works() {
    let world = Failing::new();
    let (id, own) = world.user();
    own.done("PUT /auth/creds", &key());
    for fault in [DiskFault::Full, DiskFault::Write, DiskFault::Sync] {
        world.disk.fail(fault, DATABASE);
        let before = world.state();
        let failed = world.home.run(&["rekey"], "");
        assert_eq!(failed.code, 1, "{failed:?}");
        assert_eq!(world.state(), before);
        world.disk.mend();
        world.home.done(&["rekey"], "");
        let stored = own.done("GET /auth/creds", &Value::Null);
        assert_eq!(stored["providers"]["t"]["apiKey"], "sk-upstr...6789");
        own.done("PUT /auth/creds", &key());
    }
    world.admin.done(&format!("GET /admin/users/{id}/creds"), &Value::Null);
}

/// A rotation that fails at its last step, the move of its file, is ended by the same command.
#[test]
fn a_rotation_whose_file_cannot_be_moved_is_ended_when_the_disk_works() {
    let mut world = Failing::new();
    let (_, own) = world.user();
    own.done("PUT /auth/creds", &key());
    let file = |name: &str| fs::read_to_string(world.home.data().join(name)).ok();
    let before = file("master-key");
    world.disk.fail(DiskFault::Rename, "/data/master-key$");
    let failed = world.home.run(&["rekey"], "");
    assert_eq!(failed.code, 1, "{failed:?}");
    let next = file("master-key.next");
    assert!(next.is_some() && file("master-key") == before);
    world.disk.mend();
    world.home.done(&["rekey"], "");
    assert_eq!((file("master-key"), file("master-key.next")), (next.clone(), None));
    world.home.done(&["rekey"], "");
    assert_ne!(file("master-key"), next);
    world.gateway.signal(Signal::TERM);
    assert!(world.gateway.exit().success());
    world.gateway = serve(&world.home, &world.disk);
    let stored = Api::new(world.gateway.address, own.token()).done("GET /auth/creds", &Value::Null);
    assert_eq!(stored["providers"]["t"]["apiKey"], "sk-upstr...6789");
}

/// Provider files that change while the last good versions cannot be stored are stored afterwards.
#[test]
fn last_good_versions_are_stored_when_the_disk_works() {
    for fault in [DiskFault::Full, DiskFault::Write, DiskFault::Sync] {
        let mut world = Failing::new();
        world.disk.fail(fault, "/data/last-good/");
        world.move_provider();
        world.gateway.logged("last-good` cannot be written");
        world.disk.mend();
        assert_eq!(over_socket(&world.home.data(), "POST /admin/reload").0, 200);
        world.gateway.logged("last good files were stored again");
        let drafts = |world: &Failing| {
            let names = world.home.files();
            names.keys().filter(|path| path.extension().is_some_and(|end| end == "tmp")).count()
        };
        assert_eq!(drafts(&world), 0, "{fault:?}");
        world.gateway.signal(Signal::KILL);
        world.gateway.exit();
        world.home.write("t", "broken");
        world.gateway = serve(&world.home, &world.disk);
        let (_, files) = over_socket(&world.home.data(), "GET /admin/providers/files");
        assert!(files.to_string().contains("127.0.0.1:2"), "{files}");
    }
}

/// A first start, a backup and a restore that fail leave nothing that hinders the next one.
#[test]
fn commands_that_fail_leave_nothing_half_made() {
    let disk = FaultyDisk::new();
    let env = disk.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (admin, key) = ("/data/admin-token", "/data/master-key");
    for fault in [DiskFault::Full, DiskFault::Write, DiskFault::Sync] {
        let home = Home::new(&[("t", &file(1))]);
        let fails = |part: &str, args: &[&str]| {
            disk.fail(fault, part);
            let failed = home.run_with(args, &env, "");
            assert_eq!(failed.code, 1, "{fault:?} {args:?}: {failed:?}");
            assert!(failed.err.lines().last().unwrap().starts_with("error: "), "{failed:?}");
            disk.mend();
        };
        let serve: &[&str] = &["serve", "--listen", "127.0.0.1:0"];
        for part in [DATABASE, key, admin] {
            fails(part, serve);
        }
        let mut gateway = self::serve(&home, &disk);
        let token = fs::read_to_string(home.data().join("admin-token")).unwrap();
        let api = Api::new(gateway.address, token.trim_end());
        api.user("ada");
        let backup = home.path("copy.db");
        let backup = backup.to_str().unwrap();
        fails("/copy.db", &["backup", backup]);
        let left = |part: &str| {
            let names = fs::read_dir(home.path("")).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().contains(part)).count()
        };
        assert_eq!(left("copy.db"), 0, "{fault:?}");
        home.done(&["backup", backup], "");
        api.user("bob");
        gateway.signal(Signal::TERM);
        assert!(gateway.exit().success());
        let before = home.database("SELECT count(*) FROM users");
        fails("/data/restore.tmp", &["restore", backup]);
        assert_eq!((home.database("SELECT count(*) FROM users"), before.as_str()), ("2".to_owned(), "2"));
        assert!(!home.data().join("restore.tmp").exists(), "{fault:?}");
        home.done(&["restore", backup], "");
        assert_eq!(home.database("SELECT count(*) FROM users"), "1");
        let gateway = self::serve(&home, &disk);
        Api::new(gateway.address, token.trim_end()).user("eve");
    }
}

/// A file whose directory cannot be synced is reported as not written, and is not left behind. Nor is the copy of a restore
/// that cannot be activated.
#[test]
fn files_whose_last_step_fails_are_not_left_behind() {
    let disk = FaultyDisk::new();
    let env = disk.env();
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let home = Home::new(&[("t", &file(1))]);
    let fails = |fault: DiskFault, part: &str, args: &[&str]| {
        disk.fail(fault, part);
        let failed = home.run_with(args, &env, "");
        assert_eq!(failed.code, 1, "{args:?}: {failed:?}");
        disk.mend();
    };
    fails(DiskFault::Sync, "/data$", &["serve", "--listen", "127.0.0.1:0"]);
    assert!(!home.data().join("master-key").exists());
    home.user("ada");
    let backup = home.path("copy.db");
    let copy = backup.to_str().unwrap();
    fails(DiskFault::Sync, &format!("{}$", backup.parent().unwrap().display()), &["backup", copy]);
    assert!(!backup.exists());
    home.done(&["backup", copy], "");
    home.user("bob");
    fails(DiskFault::Rename, "/data/tollgate.db$", &["restore", copy]);
    assert!(!home.data().join("restore.tmp").exists());
    assert_eq!(home.database("SELECT count(*) FROM users"), "2");
    home.done(&["restore", copy], "");
    assert_eq!(home.database("SELECT count(*) FROM users"), "1");
}
