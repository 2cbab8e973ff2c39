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
            metering::{Metering, PathModel, WhenMissing},
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
        let (metering, api) = (metering?, api?);
        let own_model = spec.model.as_deref().and_then(PathModel::parse);
        match &own_model {
            Some(model) => self.check_own_model(pointer, &model.capture, captures),
            None => self.check_model(pointer, metering, api, captures),
        }
        if spec.when_missing.is_none() && own_model.is_none() {
            return Some(metering.clone());
        }
        let when_missing = spec.when_missing.map_or(metering.when_missing, api::when_missing);
        if spec.when_missing.is_some() && when_missing == WhenMissing::Ask && metering.ask.is_none() {
            let message = format!("api `{}` has no key to ask with", api.name);
            let help = "add `ask` to its `[usage]`, or write \"estimate\" or \"none\"";
            let at = self.value(&format!("{pointer}/when_missing"));
            self.report_with_help(Code::Condition, at, message, help);
        }
        let path_model = own_model.or_else(|| metering.path_model.clone());
        Some(Arc::new(Metering { when_missing, path_model, ..Metering::clone(metering) }))
    }

    /// Reports the endpoint's keys about metering if nothing is metered there.
    fn report_unmetered(&mut self, pointer: &str, spec: &syntax::Endpoint, reason: &str) {
        let keys = [
            ("metered", spec.metered.is_some()),
            ("model", spec.model.is_some()),
            ("when_missing", spec.when_missing.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written) {
            let message = format!("`{key}` has no effect: {reason}");
            let at = self.key(&format!("{pointer}/{key}"));
            self.report_with_help(Code::Condition, at, message, "drop it");
        }
    }

    /// Reports a capture of the model that the endpoint's path does not have.
    fn check_own_model(&mut self, pointer: &str, name: &str, captures: &[String]) {
        if captures.iter().any(|known| known == name) {
            return;
        }
        let known = if captures.is_empty() { "none".to_owned() } else { backticked(captures) };
        let message = format!("the path has no capture `{name}`; its captures are: {known}");
        let at = self.value(&format!("{pointer}/model"));
        let path = self.value(&format!("{pointer}/path"));
        let help = "name the capture that holds the model, or drop the key";
        self.add(Diagnostic::new(Code::Reference, at, message).related(path, "the path").help(help));
    }

    /// Reports an api that reads the model from a capture that the endpoint's path does not have.
    fn check_model(&mut self, pointer: &str, metering: &Metering, api: &Api, captures: &[String]) {
        let Some(PathModel { capture: name, .. }) = &metering.path_model else { return };
        if captures.iter().any(|known| **known == **name) {
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
