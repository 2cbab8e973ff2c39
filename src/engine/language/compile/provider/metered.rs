//! Compiles the metering of an endpoint: that of its api, unless the endpoint says otherwise.

use std::sync::Arc;

use super::Compiler;
use crate::{
    base::{
        diag::{Code, Diagnostic},
        suggest::backticked,
    },
    language::{
        compile::{
            Api, api,
            metering::{Metering, WhenMissing},
        },
        syntax::{self, Method},
    },
};

impl Compiler<'_> {
    /// The metering; none if the endpoint is not metered. `api`: the endpoint's, if it is good.
    pub(super) fn metering(
        &mut self,
        pointer: &str,
        spec: &syntax::Endpoint,
        api: Option<&Api>,
        captures: &[String],
    ) -> Option<Arc<Metering>> {
        let unknown = spec.api.is_some() && api.is_none();
        let metering = api.and_then(|api| api.metering.as_ref());
        if let Some(reason) = unmetered(spec, api).filter(|_| !unknown) {
            self.report_unmetered(pointer, spec, &reason);
            return None;
        }
        if spec.metered == Some(false) {
            let without = syntax::Endpoint { metered: None, ..spec.clone() };
            self.report_unmetered(pointer, &without, "`metered` is `false`");
            return None;
        }
        let metering = metering?;
        self.check_model(pointer, metering, api?, captures);
        let Some(written) = spec.when_missing else { return Some(metering.clone()) };
        let when_missing = api::when_missing(written);
        if when_missing == WhenMissing::Ask && metering.ask.is_none() {
            let message = format!("api `{}` has no key to ask with", api?.name);
            let help = "add `ask` to its `[usage]`, or write \"estimate\" or \"none\"";
            let at = self.value(&format!("{pointer}/when_missing"));
            self.report_with_help(Code::Condition, at, message, help);
        }
        Some(Arc::new(Metering { when_missing, ..Metering::clone(metering) }))
    }

    /// Reports the endpoint's keys about metering if nothing is metered there.
    fn report_unmetered(&mut self, pointer: &str, spec: &syntax::Endpoint, reason: &str) {
        let keys = [("metered", spec.metered.is_some()), ("when_missing", spec.when_missing.is_some())];
        for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
            let message = format!("`{key}` has no effect: {reason}");
            let at = self.key(&format!("{pointer}/{key}"));
            self.report_with_help(Code::Condition, at, message, "drop it");
        }
    }

    /// Reports an api that reads the model from a capture that the endpoint's path does not have.
    fn check_model(&mut self, pointer: &str, metering: &Metering, api: &Api, captures: &[String]) {
        let Some(name) = metering.model_capture.as_deref() else { return };
        if captures.iter().any(|known| known == name) {
            return;
        }
        let known = if captures.is_empty() { "none".to_owned() } else { backticked(captures) };
        let message = format!(
            "api `{}` reads the model from the capture `{name}`, but the captures of this path are: {known}",
            api.name
        );
        let at = self.value(&format!("{pointer}/api"));
        let path = self.value(&format!("{pointer}/path"));
        let help = format!("write `{{{name}}}` where the path has the model, or `metered = false`");
        self.add(Diagnostic::new(Code::Reference, at, message).related(path, "the path").help(help));
    }
}

/// The reason why answers of the endpoint are not metered, whatever it says.
fn unmetered(spec: &syntax::Endpoint, api: Option<&Api>) -> Option<String> {
    match spec.method? {
        Method::Get => return Some("answers to GET are never metered".to_owned()),
        Method::Head => return Some("answers to HEAD are never metered".to_owned()),
        Method::Delete => return Some("answers to DELETE are never metered".to_owned()),
        Method::Post | Method::Put | Method::Patch => {}
    }
    match api {
        None => Some("the endpoint has no `api`, so that nothing is metered".to_owned()),
        Some(api) if api.metering.is_none() => {
            Some(format!("api `{}` has no `[usage]`, so that nothing is metered", api.name))
        }
        Some(_) => None,
    }
}
