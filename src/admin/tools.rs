//! Runs the work of tools, which is heavy: on a thread of its own, at a low priority, a few at once. The control runtime
//! has but one thread, and a worker serves requests.
//!
//! A thread has no owner: its work is bounded, and holds no lock, no file and no connection. The process ends without it,
//! and its caller gets an answer at the deadline at the latest.

use std::{thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::fault::{Fault, FaultKind};

/// Jobs that run at once.
const MAX_RUNNING: usize = 2;
/// Jobs that run or wait. Further ones are refused.
const MAX_JOBS: usize = 6;
/// The longest time that a job may wait and run. One that takes longer keeps its place until it ends.
const DEADLINE: Duration = Duration::from_secs(10);
/// The nice value of the threads: workers and the reloader come first.
const NICE: i32 = 15;

static JOBS: Semaphore = Semaphore::const_new(MAX_JOBS);
static RUNNING: Semaphore = Semaphore::const_new(MAX_RUNNING);

/// Runs a job, and waits for its result.
pub(super) async fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let Ok(place) = JOBS.try_acquire() else { return Err(busy()) };
    let result = async {
        let running = RUNNING.acquire().await.expect("nothing closes the semaphore");
        let (reply, result) = oneshot::channel();
        let work = move || {
            // Of the thread alone. It may not be allowed.
            let _ = rustix::process::setpriority_process(None, NICE);
            let result = job();
            // The places are free before the caller goes on.
            drop((place, running));
            let _ = reply.send(result);
        };
        thread::Builder::new().name("tool".into()).spawn(work).map_err(|_| busy())?;
        // A job that panicked sends nothing.
        result.await.map_err(|_| failed())
    };
    timeout(DEADLINE, result).await.unwrap_or_else(|_| Err(late()))
}

fn busy() -> Fault {
    let message = "Too many of these calls are in progress: wait for their answers, then try again";
    Fault::new(FaultKind::TooManyCalls, message)
}

fn late() -> Fault {
    let message =
        format!("There is no answer after {} s: try again, or use the command line", DEADLINE.as_secs());
    Fault::new(FaultKind::CallUnfinished, message)
}

fn failed() -> Fault {
    Fault::new(FaultKind::CallUnfinished, "The call failed: see tollgate's log")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// One test, since the places are those of the process.
    #[tokio::test]
    async fn few_jobs_run_and_a_flood_is_refused() {
        assert_eq!(run(|| 7).await.unwrap(), 7);
        let panicked = run(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(panicked.kind, FaultKind::CallUnfinished);
        let (begin, running) = mpsc::channel();
        let mut gates = Vec::new();
        let mut jobs = tokio::task::JoinSet::new();
        for _ in 0..MAX_JOBS {
            let (open, gate) = mpsc::channel::<()>();
            gates.push(open);
            let begin = begin.clone();
            jobs.spawn(run(move || {
                begin.send(()).unwrap();
                gate.recv().unwrap_err();
            }));
        }
        while JOBS.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = run(|| ()).await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::TooManyCalls);
        for _ in 0..MAX_RUNNING {
            running.recv().unwrap();
        }
        assert!(running.try_recv().is_err(), "the others wait");
        drop(gates);
        while let Some(done) = jobs.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!((JOBS.available_permits(), RUNNING.available_permits()), (MAX_JOBS, MAX_RUNNING));
    }
}
