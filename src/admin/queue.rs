//! The job queue from the workers to the control runtime, which alone uses the store. A call is sent there as a job and
//! comes back as a response. Operations on files need no store, and are handled in the worker.
//!
//! Every queue is bounded and every call has a deadline. A change that has begun runs to its end, also when the client has
//! left; a read is dropped then. Admins, users and the usage reports of users have separate queues, and each user a
//! concurrency limit: a flood of calls by one user delays neither other users nor the admin who disables that user, and a
//! report that reads for seconds delays no other call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::{Admin, ApiResult, FileOperation, OperationId, Principal, ProviderFiles, Request, STORE_CHECK};
use crate::{
    fault::{Fault, FaultKind},
    name::UserId,
};

/// Jobs that a queue holds.
const QUEUE_LENGTH: usize = 512;
/// Concurrent jobs of admins. Writing jobs run one at a time; the limit leaves room for reads while they wait.
const MAX_RUNNING_ADMINS: usize = 32;
/// Concurrent jobs of users. An admin's write waits for at most this many writes of users.
const MAX_RUNNING_USERS: usize = 4;
/// Concurrent usage reports of users: as many as the store reads at once for them.
const MAX_RUNNING_REPORTS: usize = 2;
/// Usage reports of one user that are queued or run at once: the users take turns.
const MAX_REPORTS_PER_USER: usize = 1;
/// Jobs of one user that are queued or run at once. Further calls wait in the worker.
const MAX_JOBS_PER_USER: usize = 8;
/// Calls of one user at once, those that wait in the worker included. Further calls are refused.
const MAX_CALLS_PER_USER: usize = 128;
/// The time that a call waits for its response.
const DEADLINE: Duration = Duration::from_secs(15);

/// The sending side of the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiQueue {
    files: ProviderFiles,
    admins: mpsc::Sender<Job>,
    users: Lane,
    reports: Lane,
    deadline: Duration,
}

/// A queue of users' jobs, with the limits of each user.
#[derive(Debug, Clone)]
struct Lane {
    jobs: mpsc::Sender<Job>,
    limits: UserLimits,
}

#[derive(Debug)]
struct Job {
    request: Request,
    reply: oneshot::Sender<ApiResult>,
    /// A user's permit, held until the job is done.
    _permit: Option<Permit>,
}

/// The concurrency limit of every user who has calls.
#[derive(Debug, Clone)]
struct UserLimits {
    /// Jobs of one user that are queued or run at once.
    jobs: usize,
    users: Arc<Mutex<HashMap<UserId, UserLimit>>>,
}

/// The receiving sides of the queues.
struct Receivers {
    admins: mpsc::Receiver<Job>,
    users: mpsc::Receiver<Job>,
    reports: mpsc::Receiver<Job>,
}

#[derive(Debug)]
struct UserLimit {
    jobs: Arc<Semaphore>,
    calls: usize,
}

/// Counts one call of a user while it lives.
#[derive(Debug)]
struct CallGuard {
    limits: UserLimits,
    user: UserId,
}

/// The right to have one job in the queue.
#[derive(Debug)]
struct Permit {
    _job: OwnedSemaphorePermit,
    _call: CallGuard,
}

impl ApiQueue {
    /// Makes the queue, and the future that runs its jobs on the control runtime until the last clone is dropped.
    pub fn start(admin: Admin) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, Receivers { admins, users, reports }) = Self::new(admin.files.clone());
        let jobs = async move {
            tokio::join!(
                run(admin.clone(), admins, MAX_RUNNING_ADMINS),
                run(admin.clone(), users, MAX_RUNNING_USERS),
                run(admin, reports, MAX_RUNNING_REPORTS)
            );
        };
        (queue, jobs)
    }

    fn new(files: ProviderFiles) -> (Self, Receivers) {
        let (admins, admin_jobs) = mpsc::channel(QUEUE_LENGTH);
        let (users, user_jobs) = Lane::new(MAX_JOBS_PER_USER);
        let (reports, report_jobs) = Lane::new(MAX_REPORTS_PER_USER);
        let queue = Self { files, admins, users, reports, deadline: DEADLINE };
        (queue, Receivers { admins: admin_jobs, users: user_jobs, reports: report_jobs })
    }

    /// Sends a call, and waits for its response.
    pub async fn call(&self, request: Request) -> ApiResult {
        if let OperationId::Files(operation) = request.operation()?.operation.id {
            return self.file_call(operation, request).await;
        }
        let is_read = is_read(&request);
        timeout(self.deadline, self.send(request))
            .await
            .unwrap_or_else(|_| Err(unanswered(is_read, "the store takes too long")))
    }

    /// Calls on files are answered also without the store, whose state is a part of the status.
    async fn file_call(&self, operation: FileOperation, request: Request) -> ApiResult {
        match operation {
            FileOperation::Status => match timeout(2 * STORE_CHECK, self.send(request)).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(_)) | Err(_) => self.files.handle(operation, None).await,
            },
            FileOperation::Texts | FileOperation::Reload => self.files.handle(operation, None).await,
        }
    }

    async fn send(&self, request: Request) -> ApiResult {
        let (queue, permit) = match &request.principal {
            Principal::Local | Principal::Admin => (&self.admins, None),
            Principal::User(caller) => {
                let lane = if is_report(&request)? { &self.reports } else { &self.users };
                (&lane.jobs, Some(lane.limits.acquire(&caller.id).await?))
            }
        };
        let (reply, response) = oneshot::channel();
        let is_read = is_read(&request);
        queue.try_send(Job { request, reply, _permit: permit }).map_err(|_| full())?;
        response.await.map_err(|_| unanswered(is_read, "tollgate is stopping"))?
    }
}

/// True for a call that changes nothing.
fn is_read(request: &Request) -> bool {
    let only_reads = || request.operation().is_ok_and(|found| found.operation.id.only_reads());
    request.method == Method::GET || request.method == Method::HEAD || only_reads()
}

/// True for a report of usage or limits, which may read for seconds.
fn is_report(request: &Request) -> Result<bool, Fault> {
    let id = request.operation()?.operation.id;
    Ok(matches!(id, OperationId::GetMyUsage | OperationId::GetMyRecentUsage | OperationId::GetMyLimits))
}

impl Lane {
    fn new(jobs_of_user: usize) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(QUEUE_LENGTH);
        (Self { jobs, limits: UserLimits::new(jobs_of_user) }, receiver)
    }
}

impl UserLimits {
    fn new(jobs: usize) -> Self {
        Self { jobs, users: Arc::default() }
    }

    /// Waits for a permit. A fault if the user has too many calls already.
    async fn acquire(&self, user: &UserId) -> Result<Permit, Fault> {
        let (call, jobs) = self.count(user).ok_or_else(too_many_calls)?;
        let job = jobs.acquire_owned().await.expect("nothing closes the semaphore");
        Ok(Permit { _job: job, _call: call })
    }

    fn count(&self, user: &UserId) -> Option<(CallGuard, Arc<Semaphore>)> {
        let mut limits = self.lock();
        let new = || UserLimit { jobs: Arc::new(Semaphore::new(self.jobs)), calls: 0 };
        let limit = limits.entry(user.clone()).or_insert_with(new);
        if limit.calls >= MAX_CALLS_PER_USER {
            return None;
        }
        limit.calls += 1;
        Some((CallGuard { limits: self.clone(), user: user.clone() }, limit.jobs.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, UserLimit>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut limits = self.limits.lock();
        let Some(limit) = limits.get_mut(&self.user) else { return };
        limit.calls -= 1;
        if limit.calls == 0 {
            limits.remove(&self.user);
        }
    }
}

fn too_many_calls() -> Fault {
    let message = "Too many of your calls are in progress: wait for their answers, then try again";
    Fault::new(FaultKind::TooManyCalls, message)
}

fn full() -> Fault {
    Fault::new(FaultKind::StoreUnavailable, "Too many calls wait already, and nothing was changed: try again")
}

/// The fault of a call without an answer. A change may have been made all the same.
fn unanswered(is_read: bool, why: &str) -> Fault {
    if is_read {
        let message = format!("There is no answer to this call now, since {why}: try again");
        return Fault::new(FaultKind::StoreUnavailable, message);
    }
    let message = format!(
        "There is no answer to this call now, since {why}: check whether it was done, then try again"
    );
    Fault::new(FaultKind::ChangeUnconfirmed, message)
}

async fn run(admin: Admin, mut jobs: mpsc::Receiver<Job>, max_running: usize) {
    let mut running = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while running.try_join_next().is_some() {}
        if running.len() >= max_running {
            running.join_next().await;
        }
        // If the reply is closed, the deadline has passed or the client has left: the job is dropped.
        if !job.reply.is_closed() {
            let admin = admin.clone();
            running.spawn(async move {
                let Job { request, mut reply, _permit } = job;
                let is_read = is_read(&request);
                let response = tokio::select! {
                    biased;
                    // A client that has left needs no more rows. A change runs to its end.
                    () = reply.closed(), if is_read => return,
                    response = admin.handle(&request) => response,
                };
                let _ = reply.send(response);
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
            principal: Principal::Admin,
            actor: Actor::own(),
            sessions: Vec::new(),
        }
    }

    /// A call by the user with this number.
    fn request_of(number: usize) -> Request {
        call_of(number, "GET /auth/me")
    }

    fn call_of(number: usize, line: &str) -> Request {
        let token = CallerToken {
            id: crate::name::TokenId::new("tok_0123456789abcdef").unwrap(),
            hash: TokenHash::of("tg_0"),
            kind: TokenKind::Both,
            scopes: None,
            replaced: false,
            expires_at_ms: None,
            paste: None,
            session_of: None,
        };
        let id = UserId::new(&format!("usr_{number:016x}")).unwrap();
        let caller = Caller {
            id,
            name: String::new(),
            group: None,
            disabled: false,
            token,
            credentials: Vec::new(),
            unreadable: Vec::new(),
        };
        Request { principal: Principal::User(caller.into()), ..request(line) }
    }

    fn files() -> ProviderFiles {
        ProviderFiles::Loaded(Table::new(Vec::new(), Vec::new(), &[]).into())
    }

    async fn admin(data: &std::path::Path) -> Admin {
        Admin {
            files: files(),
            store: Store::open(data).await.unwrap(),
            key: MasterKey::generate(),
            rekeyer: None,
            user_origins: crate::settings::UserOrigins::default(),
            session_lifetime: Duration::from_hours(1),
        }
    }

    #[tokio::test]
    async fn jobs_run_until_the_last_sender_is_dropped() {
        let data = tempfile::tempdir().unwrap();
        let (queue, jobs) = ApiQueue::start(admin(data.path()).await);
        let calls = async {
            let users = queue.call(request("GET /admin/users")).await.unwrap();
            assert_eq!(users.body, "{}");
            let created = queue.call(request("POST /admin/tokens")).await.unwrap();
            assert_eq!(created.status.as_u16(), 201);
            assert_eq!(queue.call(request("GET /auth/me")).await.unwrap_err().kind, FaultKind::NotFound);
            drop(queue);
        };
        tokio::join!(calls, jobs);
    }

    /// Nothing takes jobs from the queue of one.
    #[tokio::test]
    async fn a_full_queue_and_a_missed_deadline_are_503() {
        let (admins, jobs) = mpsc::channel(1);
        let (queue, ..) = ApiQueue::new(files());
        let queue = ApiQueue { admins, deadline: Duration::from_millis(20), ..queue };
        let call = || queue.call(request("GET /admin/users"));
        let (slow, full) = tokio::join!(biased; call(), call());
        for (fault, why) in [(slow, "the store takes too long"), (full, "Too many calls wait already")] {
            let fault = fault.unwrap_err();
            assert_eq!(fault.kind, FaultKind::StoreUnavailable);
            assert!(fault.message.contains(why), "{}", fault.message);
        }
        // Operations on files and unknown paths do not wait for the queue.
        assert_eq!(queue.call(request("GET /admin/providers")).await.unwrap_err().kind, FaultKind::NotFound);
        assert_eq!(queue.call(request("GET /admin/nowhere")).await.unwrap_err().kind, FaultKind::NotFound);
        drop(jobs);
        let gone = call().await.unwrap_err();
        assert_eq!(gone.kind, FaultKind::StoreUnavailable);
    }

    #[tokio::test]
    async fn a_change_without_an_answer_is_unconfirmed() {
        let (admins, mut jobs) = mpsc::channel(1);
        let (queue, ..) = ApiQueue::new(files());
        let queue = ApiQueue { admins, deadline: Duration::from_millis(20), ..queue };
        let late = queue.call(request("POST /admin/tokens")).await.unwrap_err();
        assert_eq!(late.kind, FaultKind::ChangeUnconfirmed, "{}", late.message);
        drop(jobs.recv().await);
        let call = queue.call(request("POST /admin/tokens"));
        let (lost, ()) = tokio::join!(call, async { drop(jobs.recv().await) });
        assert_eq!(lost.unwrap_err().kind, FaultKind::ChangeUnconfirmed);
    }

    type Pending<'a> = Pin<Box<dyn Future<Output = ApiResult> + 'a>>;

    /// Starts a call. Returns its fault, if it was refused at once.
    fn start(queue: &ApiQueue, request: Request) -> (Pending<'_>, Option<FaultKind>) {
        let mut call: Pending<'_> = Box::pin(unconstrained(queue.call(request)));
        let refused = match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => Some(response.unwrap_err().kind),
            Poll::Pending => None,
        };
        (call, refused)
    }

    /// Nothing takes jobs from the queue, so that every call waits.
    #[tokio::test]
    async fn a_flood_by_one_user_delays_neither_admins_nor_other_users() {
        let (queue, Receivers { admins: _admins, mut users, reports: mut report_jobs }) =
            ApiQueue::new(files());
        let mut waiting = Vec::new();
        let mut check = |request, expected| {
            let (call, refused) = start(&queue, request);
            assert_eq!(refused, expected);
            waiting.push(call);
        };
        for _ in 0..MAX_CALLS_PER_USER {
            check(request_of(0), None);
        }
        for _ in 0..1000 {
            check(request_of(0), Some(FaultKind::TooManyCalls));
        }
        for number in MAX_JOBS_PER_USER..QUEUE_LENGTH {
            check(request_of(number), None);
        }
        check(request_of(QUEUE_LENGTH), Some(FaultKind::StoreUnavailable));
        check(request("GET /admin/users"), None);
        // Reports have a queue of their own, in which each user has one place.
        check(call_of(0, "GET /auth/usage"), None);
        check(call_of(0, "GET /auth/usage/recent"), None);
        check(call_of(1, "GET /auth/usage"), None);
        let mut reports = || report_jobs.try_recv().ok().map(|job| job.request.path);
        assert_eq!(
            [reports(), reports(), reports()],
            [Some("/auth/usage".into()), Some("/auth/usage".into()), None]
        );
        // A finished job makes room for its user and in the queue. Refused calls took none.
        drop(users.recv().await);
        check(request_of(0), None);
        check(request_of(0), Some(FaultKind::TooManyCalls));
        check(request_of(QUEUE_LENGTH), None);
        drop(waiting);
        while users.try_recv().is_ok() {}
        assert!(queue.users.limits.lock().is_empty(), "a user without calls leaves no entry");
    }
}
