use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A certificate and its key that end in this year.
fn issued(until: i32) -> (String, String) {
    issued_for(1975, until)
}

/// The same, which begin in this year.
fn issued_for(since: i32, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["demo".to_owned()]).unwrap();
    params.not_before = date_time_ymd(since, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.0.path().join("tls.crt"), key: self.0.path().join("tls.key") }
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(self.files().certificate, certificate).unwrap();
        fs::write(self.files().key, key).unwrap();
    }
}

#[test]
fn a_pair_is_good_or_refused_with_its_file() {
    let place = Place::new();
    let check = |certificate: &str, key: &str, expected: Result<(), &str>| {
        place.write(certificate, key);
        match (ListenerTls::open(place.files()), expected) {
            (Ok(tls), Ok(())) => assert_eq!(tls.status().expires, "2096-01-01T00:00:00Z"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    };
    let (certificate, key) = issued(2096);
    check(&certificate, &key, Ok(()));
    check(&format!("{certificate}{key}"), &format!("{key}{certificate}"), Ok(()));
    check(&certificate, &issued(2096).1, Err("tls.key` holds another key"));
    check("", &key, Err("tls.crt` holds no certificate: it is empty"));
    check(&key, &certificate, Err("tls.crt` holds no certificate"));
    check(&certificate, "", Err("tls.key` holds no private key"));
    fs::write(place.files().certificate, [0xff; 10]).unwrap();
    assert!(ListenerTls::open(place.files()).unwrap_err().to_string().contains("tls.crt` is no text"));
    fs::remove_file(place.files().key).unwrap();
    fs::create_dir(place.files().key).unwrap();
    fs::write(place.files().certificate, certificate).unwrap();
    assert!(ListenerTls::open(place.files()).unwrap_err().to_string().contains("tls.key` is no file"));
    let missing = TlsFiles { key: place.0.path().join("none"), ..place.files() };
    assert!(ListenerTls::open(missing).unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn a_pair_of_the_future_is_used_once_it_is_valid_or_the_old_one_is_not() {
    const NOT_YET: Option<&str> = Some("the new certificate is not valid before 2050-01-01T00:00:00Z");
    for (old_until, used_at) in [(2096, "2050-01-01T00:00:00Z"), (2040, "2040-01-01T00:00:00Z")] {
        let place = Place::new();
        let (old, new) = (issued(old_until), issued_for(2050, 2097));
        place.write(&old.0, &old.1);
        let tls = ListenerTls::open(place.files()).unwrap();
        let pair = Arc::clone(&tls.pair);
        let mut watch = Watch::new(&pair);
        place.write(&new.0, &new.1);
        let used_ms = clock::from_utc(used_at).unwrap();
        let mut after = |now_ms: u64, expires: i32, problem: Option<&str>| {
            watch.look(now_ms);
            let status = tls.status();
            assert!(status.expires.starts_with(&expires.to_string()), "{status:?}, not {expires}");
            assert_eq!(status.problem.as_deref(), problem, "{now_ms}");
        };
        after(used_ms - 5000, old_until, None);
        after(used_ms - 4000, old_until, NOT_YET);
        after(used_ms - 1, old_until, NOT_YET);
        after(used_ms, 2097, None);
    }
    // At the start there is no other.
    let place = Place::new();
    let (certificate, key) = issued_for(2050, 2097);
    place.write(&certificate, &key);
    assert!(ListenerTls::open(place.files()).is_ok());
}

#[test]
fn a_changed_pair_is_used_and_a_bad_one_is_not() {
    let place = Place::new();
    let (first, second) = (issued(2096), issued(2097));
    place.write(&first.0, &first.1);
    let tls = ListenerTls::open(place.files()).unwrap();
    let pair = Arc::clone(&tls.pair);
    let mut watch = Watch::new(&pair);
    let now = clock::now_ms();
    let mut after = |expires: &str, problem: Option<&str>| {
        watch.look(now);
        let status = tls.status();
        let found = status.problem.as_deref();
        assert!(
            status.expires.starts_with(expires)
                && found.is_some() == problem.is_some()
                && problem.is_none_or(|part| found.unwrap_or_default().contains(part)),
            "{status:?}, not {expires} {problem:?}"
        );
        assert_eq!(tls.is_current(), problem.is_none());
    };
    after("2096", None);
    // The certificate is replaced first, and its key a moment later.
    fs::write(place.files().certificate, &second.0).unwrap();
    after("2096", None);
    fs::write(place.files().key, &second.1).unwrap();
    after("2097", None);
    // A bad pair that stays.
    fs::write(place.files().key, &first.1).unwrap();
    after("2097", None);
    after("2097", Some("tls.key` holds another key"));
    after("2097", Some("tls.key` holds another key"));
    fs::remove_file(place.files().key).unwrap();
    after("2097", Some("holds another key"));
    after("2097", Some("cannot read"));
    // What is in use is there again.
    fs::write(place.files().key, &second.1).unwrap();
    after("2097", None);
    // A certificate that has expired does not replace one that is valid.
    let expired = issued(2001);
    place.write(&expired.0, &expired.1);
    after("2097", None);
    after("2097", Some("has expired at 2001-01-01"));
    // A link to a directory that is swapped, as Kubernetes does.
    for (name, issued) in [("one", &first), ("two", &second)] {
        let dir = place.0.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("tls.crt"), &issued.0).unwrap();
        fs::write(dir.join("tls.key"), &issued.1).unwrap();
    }
    let link = |to: &str| {
        let draft = place.0.path().join("draft");
        std::os::unix::fs::symlink(to, &draft).unwrap();
        fs::rename(draft, place.0.path().join("data")).unwrap();
    };
    link("one");
    let dir = place.0.path().join("data");
    let tls =
        ListenerTls::open(TlsFiles { certificate: dir.join("tls.crt"), key: dir.join("tls.key") }).unwrap();
    link("two");
    Watch::new(&tls.pair).look(now);
    assert!(tls.status().expires.starts_with("2097"));
}
