//! The desk between the workers and the control runtime, which alone touches the store: a call goes there as a
//! message and comes back as an answer. The queues have a bound, every call a deadline, and what was begun is
//! finished whether somebody still waits for it or not. What is about files alone is answered at once, here.
//!
//! Admins and users wait in queues of their own, and each user has only a few turns there at once, so that a flood
//! of one's calls holds up neither the admin who ends it nor other users.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{Admin, Answer, Asker, Call, Files, Request};
use crate::{
    fault::{Fault, Kind},
    name::UserId,
};

/// Calls that may wait in a queue.
const MAX_WAITING: usize = 512;
/// Calls of admins that are answered at once: more than are likely to wait for somebody who holds up writing, so
/// that others are read meanwhile.
const MAX_OF_ADMINS: usize = 32;
/// Calls of users that are answered at once: so many may be written before an admin's.
const MAX_OF_USERS: usize = 4;
/// Calls of one user that are in the queue or answered at once. Others wait until one is done.
const MAX_TURNS: usize = 8;
/// Calls of one user that there may be, with those that wait for a turn.
const MAX_OF_ONE: usize = 128;
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(15);

/// Where calls are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    files: Files,
    admins: mpsc::Sender<Errand>,
    users: mpsc::Sender<Errand>,
    lines: Lines,
    deadline: Duration,
}

#[derive(Debug)]
struct Errand {
    request: Request,
    reply: oneshot::Sender<Result<Answer, Fault>>,
    /// A user's, held until it is done.
    _turn: Option<Turn>,
}

/// The users of whom there are calls.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<HashMap<UserId, Line>>>);

/// A user's calls wait in line for a turn.
#[derive(Debug)]
struct Line {
    turns: Arc<Semaphore>,
    calls: usize,
}

/// A call in its user's line, until this is dropped.
#[derive(Debug)]
struct InLine {
    lines: Lines,
    user: UserId,
}

/// What a call needs to get into the queue.
#[derive(Debug)]
struct Turn {
    _permit: OwnedSemaphorePermit,
    _in_line: InLine,
}

impl Desk {
    /// The desk, and what the control runtime runs until the last clone of it is gone.
    pub fn start(admin: Admin) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (desk, admins, users) = Self::new(admin.files.clone());
        let served = async move {
            tokio::join!(serve(admin.clone(), admins, MAX_OF_ADMINS), serve(admin, users, MAX_OF_USERS));
        };
        (desk, served)
    }

    fn new(files: Files) -> (Self, mpsc::Receiver<Errand>, mpsc::Receiver<Errand>) {
        let (admins, of_admins) = mpsc::channel(MAX_WAITING);
        let (users, of_users) = mpsc::channel(MAX_WAITING);
        let desk = Self { files, admins, users, lines: Lines::default(), deadline: DEADLINE };
        (desk, of_admins, of_users)
    }

    /// Has a call answered.
    pub async fn answer(&self, request: Request) -> Result<Answer, Fault> {
        if let Call::Files(call) = request.found()?.operation.call {
            return self.files.answer(call).await;
        }
        timeout(self.deadline, self.hand_in(request))
            .await
            .unwrap_or_else(|_| Err(unanswered("the store takes too long")))
    }

    async fn hand_in(&self, request: Request) -> Result<Answer, Fault> {
        let (queue, turn) = match &request.asker {
            Asker::Local | Asker::Admin => (&self.admins, None),
            Asker::User(caller) => (&self.users, Some(self.lines.turn(&caller.id).await?)),
        };
        let (reply, answer) = oneshot::channel();
        queue
            .try_send(Errand { request, reply, _turn: turn })
            .map_err(|_| unanswered("too many calls wait already"))?;
        answer.await.map_err(|_| unanswered("tollgate is stopping"))?
    }
}

impl Lines {
    /// Waits for a user's turn; a fault if too many calls of that user wait already.
    async fn turn(&self, user: &UserId) -> Result<Turn, Fault> {
        let (in_line, turns) = self.join(user).ok_or_else(too_many)?;
        let permit = turns.acquire_owned().await.expect("nobody closes it");
        Ok(Turn { _permit: permit, _in_line: in_line })
    }

    fn join(&self, user: &UserId) -> Option<(InLine, Arc<Semaphore>)> {
        let mut lines = self.lock();
        let new = || Line { turns: Arc::new(Semaphore::new(MAX_TURNS)), calls: 0 };
        let line = lines.entry(user.clone()).or_insert_with(new);
        if line.calls >= MAX_OF_ONE {
            return None;
        }
        line.calls += 1;
        Some((InLine { lines: self.clone(), user: user.clone() }, line.turns.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(&self.user) else { return };
        line.calls -= 1;
        if line.calls == 0 {
            lines.remove(&self.user);
        }
    }
}

fn too_many() -> Fault {
    let message = "Too many of your calls are not answered yet: try again when they are";
    Fault::new(Kind::TooManyCalls, message)
}

fn unanswered(why: &str) -> Fault {
    let message =
        format!("There is no answer to this call now, since {why}: look whether it was done, and try again");
    Fault::new(Kind::StoreUnavailable, message)
}

async fn serve(admin: Admin, mut errands: mpsc::Receiver<Errand>, most: usize) {
    let mut running = JoinSet::new();
    while let Some(errand) = errands.recv().await {
        while running.try_join_next().is_some() {}
        if running.len() >= most {
            running.join_next().await;
        }
        // Whoever no longer waits was told that it was not done.
        if !errand.reply.is_closed() {
            let admin = admin.clone();
            running.spawn(async move {
                let Errand { request, reply, _turn } = errand;
                let answer = admin.answer(&request).await;
                // Who has gone meanwhile cannot be told.
                let _ = reply.send(answer);
            });
        }
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use bytes::Bytes;
    use tokio::task::unconstrained;

    use super::*;
    use crate::{
        accounts::{Actor, Caller, CallerToken, MasterKey},
        store::{Store, TokenHash, TokenKind},
        table::Table,
    };

    fn request(line: &str) -> Request {
        let (method, path) = line.split_once(' ').unwrap();
        let (method, path) = (method.parse().unwrap(), path.to_owned());
        let table = files().snapshot();
        Request {
            method,
            path,
            query: None,
            body: Bytes::new(),
            table,
            asker: Asker::Admin,
            actor: Actor::own(),
        }
    }

    /// The same of a user.
    fn request_of(number: usize) -> Request {
        let token = CallerToken {
            id: crate::name::TokenId::new("tok_0123456789abcdef").unwrap(),
            hash: TokenHash::of("tg_0"),
            kind: TokenKind::Both,
            scopes: None,
            replaced: false,
            expires_at_ms: None,
            paste: None,
        };
        let id = UserId::new(&format!("usr_{number:016x}")).unwrap();
        let caller =
            Caller { id, name: String::new(), group: None, disabled: false, token, credentials: Vec::new() };
        Request { asker: Asker::User(caller.into()), ..request("GET /auth/me") }
    }

    fn files() -> Files {
        Files::Read(Table::new(Vec::new(), Vec::new(), &[]).into())
    }

    async fn admin(data: &std::path::Path) -> Admin {
        Admin {
            files: files(),
            store: Store::open(data).await.unwrap(),
            key: MasterKey::generate(),
            rekeyer: None,
        }
    }

    #[tokio::test]
    async fn calls_are_answered_until_the_last_desk_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let (desk, served) = Desk::start(admin(data.path()).await);
        let calls = async {
            let users = desk.answer(request("GET /admin/users")).await.unwrap();
            assert_eq!(users.body, "{}");
            let made = desk.answer(request("POST /admin/tokens")).await.unwrap();
            assert_eq!(made.status.as_u16(), 201);
            assert_eq!(desk.answer(request("GET /auth/me")).await.unwrap_err().kind, Kind::NotFound);
            drop(desk);
        };
        tokio::join!(calls, served);
    }

    /// Nobody serves: what does not fit is refused, what fits is waited for as long as it is good.
    #[tokio::test]
    async fn a_queue_that_is_full_and_a_store_that_hangs_are_told() {
        let (admins, waiting) = mpsc::channel(1);
        let (desk, ..) = Desk::new(files());
        let desk = Desk { admins, deadline: Duration::from_millis(20), ..desk };
        let ask = || desk.answer(request("GET /admin/users"));
        let (slow, full) = tokio::join!(biased; ask(), ask());
        for (fault, why) in [(slow, "the store takes too long"), (full, "too many calls wait already")] {
            let fault = fault.unwrap_err();
            assert_eq!(fault.kind, Kind::StoreUnavailable);
            assert!(fault.message.contains(why), "{}", fault.message);
        }
        // Files are told of all the same, and who asks for what is not there is not kept waiting.
        assert_eq!(desk.answer(request("GET /admin/providers")).await.unwrap_err().kind, Kind::NotFound);
        assert_eq!(desk.answer(request("GET /admin/nowhere")).await.unwrap_err().kind, Kind::NotFound);
        drop(waiting);
        let gone = ask().await.unwrap_err();
        assert!(gone.message.contains("since"), "{}", gone.message);
    }

    type Asked<'a> = Pin<Box<dyn Future<Output = Result<Answer, Fault>> + 'a>>;

    /// Hands in a call; what it was refused for, if that was at once.
    fn ask(desk: &Desk, request: Request) -> (Asked<'_>, Option<Kind>) {
        let mut asked: Asked<'_> = Box::pin(unconstrained(desk.answer(request)));
        let refused = match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer.unwrap_err().kind),
            Poll::Pending => None,
        };
        (asked, refused)
    }

    /// Nobody serves, so that all wait.
    #[tokio::test]
    async fn users_shut_out_neither_the_admin_nor_one_another() {
        let (desk, _admins, mut users) = Desk::new(files());
        let mut waiting = Vec::new();
        let mut check = |request, refused| {
            let (asked, seen) = ask(&desk, request);
            assert_eq!(seen, refused);
            waiting.push(asked);
        };
        for _ in 0..MAX_OF_ONE {
            check(request_of(0), None);
        }
        for _ in 0..1000 {
            check(request_of(0), Some(Kind::TooManyCalls));
        }
        for number in MAX_TURNS..MAX_WAITING {
            check(request_of(number), None);
        }
        check(request_of(MAX_WAITING), Some(Kind::StoreUnavailable));
        check(request("GET /admin/users"), None);
        // What is done makes room, for the user and in the queue; who was refused took none.
        drop(users.recv().await);
        check(request_of(0), None);
        check(request_of(0), Some(Kind::TooManyCalls));
        check(request_of(MAX_WAITING), None);
        drop(waiting);
        while users.try_recv().is_ok() {}
        assert!(desk.lines.lock().is_empty(), "nothing is remembered of who waits for nothing");
    }
}
