//! The published vectors: canonical request, string to sign and signature, as headers and as a query.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    canonical::{self, CanonicalRequest, PathForm},
    signature::{ALGORITHM, Scope},
};
use crate::base::hex;

const VECTORS: &str = include_str!("../../../../../tests/sigv4/vectors.json");

struct Vector<'v> {
    name: &'v str,
    files: &'v Map<String, Value>,
    method: Method,
    target: &'v str,
    headers: HeaderMap,
    body: &'v str,
}

impl<'v> Vector<'v> {
    fn read(name: &'v str, files: &'v Map<String, Value>) -> Self {
        let text = files["request"].as_str().unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let mut folded: Vec<String> = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            match folded.last_mut().filter(|_| line.starts_with(' ')) {
                Some(last) => last.push_str(line),
                None => folded.push(line.to_owned()),
            }
        }
        let mut headers = HeaderMap::new();
        for line in &folded {
            let (header, value) = line.split_once(':').unwrap();
            headers.append(header.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let target = rest.strip_suffix(" HTTP/1.1").unwrap();
        Self { name, files, method: method.parse().unwrap(), target, headers, body }
    }

    fn file(&self, name: &str) -> Option<&'v str> {
        self.files.get(name).map(|text| text.as_str().unwrap())
    }

    /// A member of the context, and its value in the two vectors that have none.
    fn context(&self, pointer: &str) -> Option<&'v str> {
        self.files.get("context").and_then(|context| context.pointer(pointer)?.as_str())
    }

    fn flag(&self, name: &str) -> bool {
        self.files.get("context").is_some_and(|context| context[name] == true)
    }

    /// The two vectors without a context encode the path twice.
    fn form(&self) -> PathForm {
        match self.files.get("context") {
            Some(_) => PathForm { normalized: self.flag("normalize"), encoded_twice: false },
            None => PathForm::TWICE,
        }
    }

    fn scope(&self) -> Scope<'v> {
        match self.context("/timestamp") {
            Some("2015-08-30T12:36:00Z") => {
                let (region, service) = (self.context("/region").unwrap(), self.context("/service").unwrap());
                Scope::new(1_440_938_160_000, region, service)
            }
            Some(other) => panic!("{}: another time, {other}", self.name),
            None => {
                let (region, service) = self.signed_for();
                Scope::new(1_620_747_645_000, region, service)
            }
        }
    }

    /// The region and the service in the `Credential` of the signed request.
    fn signed_for(&self) -> (&'v str, &'v str) {
        let (_, credential) = self.file("header-signed-request").unwrap().split_once("Credential=").unwrap();
        let mut parts = credential.split('/').skip(2);
        (parts.next().unwrap(), parts.next().unwrap())
    }

    fn payload(&self) -> String {
        hex::encode(&Sha256::digest(self.body))
    }

    fn check(&self, place: &str, scope: &Scope<'_>, request: &CanonicalRequest) -> String {
        let text = str::from_utf8(&request.text).unwrap();
        assert_eq!(Some(text), self.file(&format!("{place}-canonical-request")), "{}", self.name);
        let string = scope.string_to_sign(request);
        if let Some(expected) = self.file(&format!("{place}-string-to-sign")) {
            assert_eq!(string, expected.trim_end(), "{}", self.name);
        }
        let key = self.context("/credentials/secret_access_key");
        let signature = scope.signature(key.unwrap_or("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), &string);
        if let Some(expected) = self.file(&format!("{place}-signature")) {
            assert_eq!(signature, expected, "{}", self.name);
        }
        signature
    }

    /// The signature in headers, and the request that carries it.
    fn check_headers(&self) {
        let (mut headers, scope, payload) = (self.headers.clone(), self.scope(), self.payload());
        let mut set = |name: &'static str, value: &str| {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        };
        set("x-amz-date", &scope.time);
        if self.flag("sign_body") {
            set("x-amz-content-sha256", &payload);
        }
        let token = self.context("/credentials/token").filter(|_| !self.flag("omit_session_token"));
        if let Some(token) = token {
            set("x-amz-security-token", token);
        }
        let request =
            canonical::request(&self.method, self.target, &headers, &payload, self.form(), |_| true);
        let signature = self.check("header", &scope, &request);
        let key_id = self.context("/credentials/access_key_id").unwrap_or("AKIDEXAMPLE");
        let value = scope.authorization(key_id, &request.signed_headers, &signature);
        // The file of this vector has another time, region and key than its canonical request.
        if self.name != "double-encode-path" {
            let whole = self.file("header-signed-request").unwrap();
            let header = whole.lines().find_map(|line| line.strip_prefix("Authorization:"));
            assert_eq!(header.map(str::trim), Some(&*value), "{}", self.name);
        }
    }

    /// The signature in the query, by the same functions.
    fn check_query(&self) {
        if self.file("query-canonical-request").is_none() {
            return;
        }
        let scope = self.scope();
        let names: std::collections::BTreeSet<&str> = self.headers.keys().map(HeaderName::as_str).collect();
        let mut parameters = vec![
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            (
                "X-Amz-Credential",
                format!("{}/{}", self.context("/credentials/access_key_id").unwrap(), scope.text()),
            ),
            ("X-Amz-Date", scope.time.clone()),
            ("X-Amz-Expires", "3600".to_owned()),
            ("X-Amz-SignedHeaders", names.into_iter().collect::<Vec<_>>().join(";")),
        ];
        let token = self.context("/credentials/token").filter(|_| !self.flag("omit_session_token"));
        parameters.extend(token.map(|token| ("X-Amz-Security-Token", token.to_owned())));
        let mut target = self.target.to_owned();
        for (name, value) in parameters {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.extend([name, "=", &value]);
        }
        let request =
            canonical::request(&self.method, &target, &self.headers, &self.payload(), self.form(), |_| true);
        self.check("query", &scope, &request);
    }
}

#[test]
fn every_published_vector_is_reproduced() {
    let vectors: Map<String, Value> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), 40);
    for (name, files) in &vectors {
        let vector = Vector::read(name, files.as_object().unwrap());
        vector.check_headers();
        vector.check_query();
    }
}
