//! The limits of admission control and the upstream client's configuration: settings, within what the system allows. Warns if
//! that is less than was asked for, or if a setting weakens a guard.

use anyhow::Context as _;

use super::outgoing_proxy;
use crate::{
    admission::{Limits, Resources, raise_open_files},
    settings::Settings,
    upstream::{self, ConnectRule},
};

/// Fewer connections than that are worth a warning.
const FEW_CONNECTIONS: usize = 256;

/// The limits of admission control, for all the open files that the system allows.
pub(super) fn limits(settings: &Settings) -> Limits {
    raise_open_files();
    let resources = Resources::of_this_process();
    let limits = Limits::derive(resources, &settings.admission, settings.workers, settings.max_head);
    let Limits { open_files, connections, requests, .. } = limits;
    if connections < FEW_CONNECTIONS && settings.admission.connections.is_none() {
        tracing::warn!(
            open_files,
            memory_mib = resources.memory >> 20,
            connections,
            requests,
            "few connections fit: raise the limit of open files (`ulimit -n`, `LimitNOFILE=`) or of memory"
        );
    }
    let asked =
        [("max_connections", settings.admission.connections), ("max_requests", settings.admission.requests)];
    for ((setting, asked), limit) in asked.into_iter().zip([connections, requests]) {
        if let Some(asked) = asked
            && limit < asked
        {
            tracing::warn!(
                setting,
                asked,
                limit,
                open_files,
                "a limit was lowered to what open files allow: raise them (`ulimit -n`, `LimitNOFILE=`)"
            );
        }
    }
    limits
}

/// The configuration of the upstream client.
pub(super) fn upstream_config(settings: &Settings, limits: &Limits) -> anyhow::Result<upstream::Config> {
    let rules = settings
        .connect_to
        .iter()
        .map(|rule| ConnectRule::parse(rule).context("`connect_to` cannot be used"));
    let connect_to = rules.collect::<anyhow::Result<Vec<_>>>()?;
    for rule in &settings.connect_to {
        tracing::warn!(%rule, "connect_to is on: connections go to other addresses than their URLs name");
    }
    if settings.allow_private {
        tracing::warn!("allow_private is on: upstream names may resolve to private addresses");
    }
    let extra_ca = match &settings.ca_file {
        Some(path) => upstream::load_ca_file(path)?,
        None => Vec::new(),
    };
    Ok(upstream::Config {
        connect_to,
        extra_ca,
        user_origins: settings.user_origins.clone(),
        proxies: outgoing_proxy::proxies(settings)?,
        allow_private: settings.allow_private,
        pool_max_idle: limits.idle_upstream,
        ..upstream::Config::default()
    })
}
