//! The desk between the workers and the control runtime, which alone touches the store: a call goes there as a
//! message and comes back as an answer. The queue has a bound, every call a deadline, and what was begun is
//! finished whether somebody still waits for it or not. What is about files alone is answered at once, here.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{Admin, Answer, Call, Files, Request};
use crate::fault::{Fault, Kind};

/// Calls that may wait.
const MAX_WAITING: usize = 512;
/// Calls that are answered at once.
const MAX_RUNNING: usize = 8;
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(15);

/// Where calls are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    files: Files,
    errands: mpsc::Sender<Errand>,
    deadline: Duration,
}

#[derive(Debug)]
struct Errand {
    request: Request,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

impl Desk {
    /// The desk, and what the control runtime runs until the last clone of it is gone.
    pub fn start(admin: Admin) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, errands) = mpsc::channel(MAX_WAITING);
        let desk = Self { files: admin.files.clone(), errands: sender, deadline: DEADLINE };
        (desk, serve(admin, errands))
    }

    /// Has a call answered.
    pub async fn answer(&self, request: Request) -> Result<Answer, Fault> {
        if let Call::Files(call) = request.found()?.operation.call {
            return self.files.answer(call).await;
        }
        let (reply, answer) = oneshot::channel();
        self.errands
            .try_send(Errand { request, reply })
            .map_err(|_| unanswered("too many calls wait already"))?;
        match timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unanswered("tollgate is stopping")),
            Err(_) => Err(unanswered("the store takes too long")),
        }
    }
}

fn unanswered(why: &str) -> Fault {
    let message =
        format!("There is no answer to this call now, since {why}: look whether it was done, and try again");
    Fault::new(Kind::StoreUnavailable, message)
}

async fn serve(admin: Admin, mut errands: mpsc::Receiver<Errand>) {
    let mut running = JoinSet::new();
    while let Some(Errand { request, reply }) = errands.recv().await {
        while running.try_join_next().is_some() {}
        if running.len() >= MAX_RUNNING {
            running.join_next().await;
        }
        // Whoever no longer waits was told that it was not done.
        if !reply.is_closed() {
            let admin = admin.clone();
            running.spawn(async move {
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
    use bytes::Bytes;

    use super::*;
    use crate::{
        accounts::{Actor, MasterKey},
        admin::Asker,
        store::Store,
        table::Table,
    };

    fn request(line: &str) -> Request {
        let (method, path) = line.split_once(' ').unwrap();
        let (method, path) = (method.parse().unwrap(), path.to_owned());
        Request { method, path, query: None, body: Bytes::new(), asker: Asker::Admin, actor: Actor::own() }
    }

    async fn admin(data: &std::path::Path) -> Admin {
        let files = Files::Read(Table::new(Vec::new(), Vec::new(), &[]).into());
        Admin { files, store: Store::open(data).await.unwrap(), key: MasterKey::generate(), rekeyer: None }
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
        let (errands, waiting) = mpsc::channel(1);
        let files = Files::Read(Table::new(Vec::new(), Vec::new(), &[]).into());
        let desk = Desk { files, errands, deadline: Duration::from_millis(20) };
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
}
