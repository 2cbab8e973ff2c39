//! Style sheets, scripts and pictures, compiled in. Their paths hold a hash of all their contents: a browser keeps them for
//! good, and asks for others after an update.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use http::{HeaderValue, header};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::response::{PageResponse, gzip};
use crate::hex;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/pages/assets");
static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

/// The bytes of the hash that stand in paths.
const HASH_BYTES: usize = 6;

struct Assets {
    hash: String,
    /// By name: the content, plain and compressed.
    files: BTreeMap<&'static str, (Bytes, Bytes)>,
}

impl Assets {
    fn new() -> Self {
        let mut hasher = Sha256::new();
        let mut files = BTreeMap::new();
        for file in FILES.files() {
            let name = file.path().to_str().expect("names of assets are ASCII");
            let content = file.contents();
            hasher.update(u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(content);
            files.insert(name, (Bytes::from_static(content), gzip(content)));
        }
        Self { hash: hex::encode(&hasher.finalize()[..HASH_BYTES]), files }
    }
}

/// The hash in the paths of assets.
pub(super) fn hash() -> &'static str {
    &ASSETS.hash
}

/// The asset with this name. None if there is none, or if the hash is another version's.
pub(super) fn find(hash: &str, name: &str) -> Option<PageResponse> {
    let (plain, compressed) = ASSETS.files.get(name).filter(|_| hash == ASSETS.hash)?;
    let mut response = PageResponse::compressed(plain.clone(), compressed.clone());
    let fixed = HeaderValue::from_static;
    response.headers.insert(header::CONTENT_TYPE, fixed(content_type(name)));
    response.headers.insert(header::CACHE_CONTROL, fixed("public, max-age=31536000, immutable"));
    Some(response)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_has_a_type() {
        for file in FILES.files() {
            let name = file.path().to_str().unwrap();
            assert_ne!(content_type(name), "application/octet-stream", "{name}");
            assert!(find(hash(), name).is_some(), "{name}");
            assert!(find("000000000000", name).is_none(), "{name} of another version");
        }
        assert!(find(hash(), "absent.css").is_none());
    }
}
