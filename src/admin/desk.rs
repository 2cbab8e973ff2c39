//! The desk between the workers and the control runtime, which alone touches the store: a call goes there as a
//! message and comes back as an answer. The queue has a bound, every call a deadline, and what was begun is
//! finished whether somebody still waits for it or not.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{Admin, Answer, Request};
use crate::fault::{Fault, Kind};

/// Calls that may wait.
const MAX_WAITING: usize = 512;
/// Calls that are answered at once.
const MAX_RUNNING: usize = 8;
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(15);

/// Where calls are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk(mpsc::Sender<Errand>);

#[derive(Debug)]
struct Errand {
    request: Request,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

impl Desk {
    /// The desk, and what the control runtime runs until the last clone of it is gone.
    pub fn start(admin: Admin) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, errands) = mpsc::channel(MAX_WAITING);
        (Self(sender), serve(admin, errands))
    }

    /// Has a call answered.
    pub async fn answer(&self, request: Request) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Errand { request, reply }).map_err(|_| unanswered("too many calls wait already"))?;
        match timeout(DEADLINE, answer).await {
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
