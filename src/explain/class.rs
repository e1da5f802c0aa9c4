//! The class of limits that holds for a hypothetical request.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::access::limits::quota::Quota;
use crate::access::limits::{Class, ClassLimits, Classes, Pace, Per};
use crate::access::policy::Scenario;
use crate::text::units::show_size;

/// A class and its limits, as they are written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExplainedClass {
    /// None: no class holds, and so no limits.
    name: Option<String>,
    /// What has the limits for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<&'static str>,
    #[serde(flatten)]
    limits: ExplainedLimits,
    #[serde(skip)]
    shown: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct ExplainedLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent_requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_tunnels: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnels: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
    /// By period.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    quota: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_quota: Option<&'static str>,
}

impl ExplainedClass {
    /// The class of a request, if one holds.
    pub(super) fn new(classes: &Classes, scenario: &Scenario) -> ExplainedClass {
        let class = classes.class_of(&scenario.request());
        let class = class.map(AsRef::as_ref);
        ExplainedClass {
            name: class.map(|class| class.name().to_owned()),
            per: class.map(|class| class.per().as_str()),
            limits: class.map(|class| class.limits().into()).unwrap_or_default(),
            shown: class.map(show).unwrap_or_default(),
        }
    }
}

fn show(class: &Class) -> String {
    let limits = class.limits();
    match (limits.is_empty(), class.per()) {
        (true, _) => limits.to_string(),
        (false, Per::User) => format!("{limits}, for each user"),
        (false, Per::ClientNetwork) => format!("{limits}, for each client network"),
        (false, Per::Host) => format!("{limits}, for each host"),
        (false, Per::Class) => format!("{limits}, for the class as a whole"),
    }
}

impl fmt::Display for ExplainedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "class {name}: {}", self.shown),
            None => f.write_str("class none: no class of tollgate.limits.classes matches"),
        }
    }
}

impl From<&ClassLimits> for ExplainedLimits {
    fn from(limits: &ClassLimits) -> ExplainedLimits {
        let rate = |pace: Pace| pace.rate().to_string();
        ExplainedLimits {
            requests: limits.requests.map(rate),
            burst: limits.requests.map(|pace| pace.burst()),
            concurrent_requests: limits.concurrent_requests,
            new_tunnels: limits.new_tunnels.map(rate),
            tunnels: limits.tunnels,
            download: limits.download.map(|bandwidth| bandwidth.to_string()),
            upload: limits.upload.map(|bandwidth| bandwidth.to_string()),
            quota: limits
                .quota
                .iter()
                .flat_map(Quota::periods)
                .map(|(period, limit)| (period.as_str(), show_size(limit)))
                .collect(),
            on_quota: limits.quota.map(|quota| quota.on_quota().as_str()),
        }
    }
}
