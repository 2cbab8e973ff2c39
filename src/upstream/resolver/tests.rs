//! Tests with a scripted lookup: a host whose name begins with `hang` is answered when the test says so.

use std::{
    future::Future,
    sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use super::{hosts::MAX_FOR_NEW, *};
use crate::fault::FaultKind;

/// A timeout that no passing test reaches.
const LONG: Duration = Duration::from_secs(20);

/// A scripted name server. Drop answers all that is waiting.
#[derive(Clone)]
struct Server(Arc<(Mutex<bool>, Condvar)>, Arc<AtomicUsize>);

impl Server {
    fn start() -> (Self, Resolver) {
        let server = Self(Arc::default(), Arc::default());
        let lookup = server.clone();
        (server, Resolver::with(Arc::new(move |host: &str| lookup.answer(host))))
    }

    fn answer(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        if host.starts_with("hang") {
            let released = self.0.0.lock().unwrap();
            drop(self.0.1.wait_while(released, |released| !*released).unwrap());
        }
        match host {
            "panic" => panic!("the lookup's thread panics"),
            "none" => Ok(Vec::new()),
            "missing" => Err(error("no such name", false)),
            _ => Ok(vec![[192, 0, 2, 1].into()]),
        }
    }

    fn release(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn lookups(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

fn error(what: &str, is_temporary: bool) -> LookupError {
    LookupError { what: what.into(), is_temporary, local: None }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap()
}

#[tokio::test]
async fn callers_of_a_host_share_one_lookup_and_others_do_not_wait_for_it() {
    let (server, resolver) = Server::start();
    let hanging: Vec<_> = (0..100).map(|_| resolver.addresses("hang")).collect();
    let mut hanging = Box::pin(futures_of(hanging));
    assert!(std::future::poll_fn(|cx| Poll::Ready(hanging.as_mut().poll(cx).is_pending())).await);
    for number in 0..100 {
        within(resolver.addresses(&format!("good{number}"))).await.unwrap();
    }
    assert_eq!(server.lookups(), 101);
    server.release();
    for outcome in within(hanging).await {
        assert_eq!(outcome.unwrap()[..], [IpAddr::from([192, 0, 2, 1])]);
    }
    assert_eq!(server.lookups(), 101);
}

#[tokio::test]
async fn hosts_that_hang_leave_lookups_to_known_hosts_and_fail_at_once_beyond_the_bound() {
    let (server, resolver) = Server::start();
    within(resolver.addresses("known")).await.unwrap();
    let names: Vec<_> = (0..200).map(|number| format!("hang{number}")).collect();
    let mut hanging = Box::pin(futures_of(names.iter().map(|name| resolver.addresses(name)).collect()));
    assert!(std::future::poll_fn(|cx| Poll::Ready(hanging.as_mut().poll(cx).is_pending())).await);
    assert_eq!(lock(&resolver.hosts).in_flight(), MAX_FOR_NEW);
    within(resolver.addresses("known")).await.unwrap();
    let busy = within(resolver.addresses("new")).await.unwrap_err();
    assert_eq!(busy.kind(), FaultKind::UpstreamDnsBusy, "{busy}");
    server.release();
    let outcomes = within(hanging).await;
    let busy = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(server.lookups(), 1 + outcomes.len() - busy);
    assert_eq!(busy, 200 - MAX_FOR_NEW);
    within(resolver.addresses("new")).await.unwrap();
}

#[tokio::test]
async fn failures_are_reported_and_cached() {
    let (server, resolver) = Server::start();
    for (host, expected) in [
        ("missing", "`missing` does not resolve: no such name"),
        ("none", "`none` does not resolve: the name has no address"),
        ("panic", "`panic` does not resolve: the lookup ended without a result"),
    ] {
        let before = server.lookups();
        for _ in 0..3 {
            let error = within(resolver.addresses(host)).await.unwrap_err();
            assert_eq!((error.kind(), &*error.to_string()), (FaultKind::UpstreamDns, expected));
        }
        assert_eq!(server.lookups(), before + 1, "{host}");
    }
}

#[tokio::test]
async fn earlier_addresses_stand_in_for_a_slow_or_failed_lookup() {
    let (earlier, later): (Addresses, Addresses) =
        (Arc::new([[192, 0, 2, 1].into()]), Arc::new([[192, 0, 2, 2].into()]));
    let check = async |outcome: Option<Outcome>, expected: Outcome| {
        let (sender, flight) = watch::channel(outcome);
        assert_eq!(within(wait(flight, Some(earlier.clone()))).await, expected);
        drop(sender);
    };
    check(None, Ok(earlier.clone())).await;
    check(Some(Ok(later.clone())), Ok(later.clone())).await;
    check(Some(Err(error("try again", true))), Ok(earlier.clone())).await;
    check(Some(Err(error("no such name", false))), Err(error("no such name", false))).await;
}

#[tokio::test]
async fn the_system_resolves() {
    let resolver = Resolver::new();
    let loopback = within(resolver.addresses("localhost")).await.unwrap();
    assert!(loopback.iter().all(IpAddr::is_loopback), "{loopback:?}");
    let error = within(resolver.addresses("nonexistent.invalid")).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamDns, "{error}");
}

/// All of them, at once.
async fn futures_of<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
