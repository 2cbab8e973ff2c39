//! TLS of the listeners: the certificate and its key, from two files that are read again when they change.
//!
//! It guarantees: a pair that cannot be used at the start refuses the start; later on, the last good pair stays and the
//! reason is in the log, the status and the metrics. Files are compared by their content once a second, so that renames and
//! swapped links are noticed on every file system. No message contains a part of a key.
//!
//! It never opens a socket: `server` does. Read next: `validity`, for the dates of a certificate.

mod validity;

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    bind::{TlsPart, TlsProblem},
    clock,
    settings::TlsFiles,
    upstream,
};
use validity::Validity;

/// Interval at which the files are read.
const POLL: Duration = Duration::from_secs(1);
/// The largest file.
const MAX_BYTES: u64 = 1 << 20;
/// The longest time before its end at which a certificate is warned about. A sixth of its life, if that is shorter.
const WARN_MS: u64 = 14 * DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Its content cannot be used.
    #[error("`{}` {what}; {help}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason, the rest of a sentence.
        what: String,
        /// The fix.
        help: &'static str,
    },
}

/// The certificate that the listeners show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Certificate")]
pub struct CertificateStatus {
    /// Its file.
    pub file: String,
    /// Its end, in UTC. The listeners show it also later.
    pub expires: String,
    /// The reason why newer files are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The TLS of the listeners. Clones share the certificate.
#[derive(Clone)]
pub struct ListenerTls {
    config: Arc<ServerConfig>,
    pair: Arc<Pair>,
}

#[derive(Debug)]
struct Pair {
    files: TlsFiles,
    served: ArcSwap<Served>,
    problem: Mutex<Option<String>>,
}

/// A pair that is good.
#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    validity: Validity,
    digest: Content,
}

/// Why new files are not used.
enum Unused {
    /// They have to change.
    Bad(String),
    /// They are valid later.
    Early(String),
}

/// SHA-256 of both texts; none of a file that cannot be read.
type Content = [Option<[u8; 32]>; 2];

/// Ends the thread that reads the files, when it is dropped.
#[derive(Debug)]
pub struct Watching(#[expect(dead_code, reason = "its drop ends the thread")] mpsc::Sender<()>);

impl ListenerTls {
    /// Reads the pair.
    pub fn open(files: TlsFiles) -> Result<Self, PairError> {
        let served = Served::read(&files).1?;
        let pair = Arc::new(Pair { files, served: ArcSwap::from_pointee(served), problem: Mutex::default() });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring has cipher suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&pair) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), pair })
    }

    /// The configuration of a handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The certificate of now.
    pub fn status(&self) -> CertificateStatus {
        CertificateStatus {
            file: self.pair.files.certificate.display().to_string(),
            expires: clock::utc(self.expires_ms()),
            problem: self.pair.problem().clone(),
        }
    }

    /// The end of the certificate, in milliseconds since 1970.
    pub fn expires_ms(&self) -> u64 {
        self.pair.served.load().validity.until_ms
    }

    /// True if the newest files are in use.
    pub fn is_current(&self) -> bool {
        self.pair.problem().is_none()
    }

    /// Starts the thread that reads the files again. Logs the certificate, and its end when that comes near.
    pub fn watch(&self) -> io::Result<Watching> {
        let pair = Arc::clone(&self.pair);
        let (ending, ended) = mpsc::channel();
        let run = move || {
            let mut watch = Watch::new(&pair);
            while ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                watch.look(clock::now_ms());
            }
        };
        std::thread::Builder::new().name("certificate".into()).spawn(run)?;
        Ok(Watching(ending))
    }
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ListenerTls").field("files", &self.pair.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.served.load().key))
    }
}

impl Pair {
    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread remembers.
struct Watch<'p> {
    pair: &'p Pair,
    /// The content of the last look that was not good.
    failed: Option<Content>,
    warned_ms: Option<u64>,
}

impl<'p> Watch<'p> {
    fn new(pair: &'p Pair) -> Self {
        let mut watch = Self { pair, failed: None, warned_ms: None };
        watch.log("certificate loaded");
        watch.warn(clock::now_ms());
        watch
    }

    /// Looks at the files once. A change that cannot be used counts when a second look finds the same: the two files are
    /// seldom replaced in the same moment.
    fn look(&mut self, now_ms: u64) {
        let served = self.pair.served.load();
        let (digest, read) = Served::read(&self.pair.files);
        if digest == served.digest {
            self.failed = None;
            if self.pair.problem().take().is_some() {
                tracing::info!("the files of the certificate are again those that are in use");
            }
        } else {
            match read
                .map_err(|error| Unused::Bad(error.to_string()))
                .and_then(|new| new.replaces(&served, now_ms))
            {
                Ok(new) => {
                    self.pair.served.store(Arc::new(new));
                    *self.pair.problem() = None;
                    (self.failed, self.warned_ms) = (None, None);
                    self.log("certificate replaced");
                }
                Err(_) if self.failed != Some(digest) => self.failed = Some(digest),
                Err(unused) => self.report(&unused),
            }
        }
        self.warn(now_ms);
    }

    fn report(&self, unused: &Unused) {
        let mut known = self.pair.problem();
        let (Unused::Bad(problem) | Unused::Early(problem)) = unused;
        if known.as_ref() == Some(problem) {
            return;
        }
        match unused {
            Unused::Bad(problem) => tracing::error!(
                problem,
                "the new certificate is not used: the last good one stays; it is tried again once the files change"
            ),
            Unused::Early(problem) => {
                tracing::warn!(
                    problem,
                    "the new certificate is not used yet: the last good one stays until then"
                );
            }
        }
        *known = Some(problem.clone());
    }

    fn log(&self, event: &str) {
        let (served, file) = (self.pair.served.load(), self.pair.files.certificate.display());
        tracing::info!(%file, expires = clock::utc(served.validity.until_ms), "{event}");
    }

    /// Warns once a day of a certificate that ends soon, or has ended.
    fn warn(&mut self, now_ms: u64) {
        let validity = self.pair.served.load().validity;
        let is_due = self.warned_ms.is_none_or(|warned| now_ms >= warned + DAY_MS);
        if !is_due || !validity.ends_soon(now_ms) {
            return;
        }
        self.warned_ms = Some(now_ms);
        let (file, expires) = (self.pair.files.certificate.display(), clock::utc(validity.until_ms));
        if now_ms >= validity.until_ms {
            tracing::error!(%file, expires, "the certificate has expired: clients refuse it; replace the files");
        } else {
            tracing::warn!(%file, expires, "the certificate expires soon: replace the files");
        }
    }
}

impl Served {
    fn read(files: &TlsFiles) -> (Content, Result<Self, PairError>) {
        let [certificate, key] = [&files.certificate, &files.key].map(|path| read(path));
        let digest = [&certificate, &key]
            .map(|text| text.as_ref().ok().map(|text| Sha256::digest(text.as_bytes()).into()));
        let made = certificate.and_then(|certificate| Self::new(files, &certificate, &key?, digest));
        (digest, made)
    }

    fn new(files: &TlsFiles, certificate: &str, key: &str, digest: Content) -> Result<Self, PairError> {
        let of_problem = |TlsProblem { part, what, help }: TlsProblem| {
            let path = match part {
                TlsPart::Certificate | TlsPart::Ca => &files.certificate,
                TlsPart::Key => &files.key,
            };
            PairError::Content { path: path.clone(), what, help }
        };
        let key = upstream::certified_key(certificate, key).map_err(of_problem)?;
        let validity = key.cert.first().and_then(|certificate| Validity::of(certificate));
        let validity = validity.ok_or_else(|| PairError::Content {
            path: files.certificate.clone(),
            what: "holds a certificate without dates that can be read".into(),
            help: "have a new one issued",
        })?;
        Ok(Self { key: Arc::new(key), validity, digest })
    }

    /// This pair, unless it would make things worse. It is asked again until it is used.
    fn replaces(self, old: &Self, now_ms: u64) -> Result<Self, Unused> {
        let Validity { since_ms, until_ms } = self.validity;
        let is_old_valid = (old.validity.since_ms..old.validity.until_ms).contains(&now_ms);
        if is_old_valid && until_ms <= now_ms {
            return Err(Unused::Bad(format!("the new certificate has expired at {}", clock::utc(until_ms))));
        }
        if is_old_valid && now_ms < since_ms {
            return Err(Unused::Early(format!(
                "the new certificate is not valid before {}",
                clock::utc(since_ms)
            )));
        }
        Ok(self)
    }
}

/// The text of a file. A directory, a pipe or a device is none.
fn read(path: &Path) -> Result<Zeroizing<String>, PairError> {
    let refused = |error| PairError::Read { path: path.into(), error };
    let content = |what: &str| PairError::Content {
        path: path.into(),
        what: what.into(),
        help: "it must be a file in PEM",
    };
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err(content("is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
    let file = fs::File::open(path).map_err(refused)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(content("is larger than 1 MiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(content("is no text")),
    }
}

#[cfg(test)]
mod tests;
