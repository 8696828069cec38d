//! `GET /metrics`: Prometheus' text format, version 0.0.4.
//!
//! Written by hand, because the numbers live in the versions they are about and
//! leave with them: a registry would have to be told of every swap.

use super::Control;
use crate::runtime::{Version, stats::Snapshot};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::{
    fmt::{Display, Write},
    sync::Arc,
};

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are names and hex digits of our own: nothing to escape.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}

pub async fn text(State(control): State<Arc<Control>>) -> Response {
    let mut text = Text::default();
    let slots = control.registry.slots();
    let mut versions: Vec<(String, Snapshot)> = Vec::new();
    text.family("shema_version_share", "gauge", "Percent of the clients that a version answers.");
    for slot in &slots {
        let split = slot.split();
        let trial = split.canary.as_ref().filter(|canary| !canary.shadow);
        let share = trial.map_or(0, |canary| canary.percent);
        if let Some(live) = &split.live {
            text.sample("shema_version_share", &labels(live), 100_u8.saturating_sub(share));
        }
        if let Some(canary) = trial {
            text.sample("shema_version_share", &labels(&canary.version), share);
        }
        versions.extend(slot.loaded().all().iter().map(|version| (labels(version), version.stats.snapshot())));
    }
    write_versions(&mut text, &versions);
    text.family("shema_versions_loaded", "gauge", "Versions in memory, of all components.");
    text.sample("shema_versions_loaded", "", Version::loaded());
    if let Some(bytes) = resident_bytes() {
        text.family("process_resident_memory_bytes", "gauge", "Resident memory.");
        text.sample("process_resident_memory_bytes", "", bytes);
    }
    let services = &control.services;
    text.family("shema_redis_up", "gauge", "Whether Redis answers.");
    text.sample("shema_redis_up", "", u8::from(services.redis.is_up()));
    let outbox = control.deployer.outbox().await;
    text.family("shema_database_up", "gauge", "Whether PostgreSQL answers.");
    text.sample("shema_database_up", "", u8::from(outbox.is_some()));
    if let Some((unpublished, oldest_seconds)) = outbox {
        text.family("shema_outbox_unpublished", "gauge", "Events that Redis has not taken yet.");
        text.sample("shema_outbox_unpublished", "", unpublished);
        text.family("shema_outbox_oldest_seconds", "gauge", "Age of the oldest of them.");
        text.sample("shema_outbox_oldest_seconds", "", oldest_seconds);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response()
}

fn write_versions(text: &mut Text, versions: &[(String, Snapshot)]) {
    type Read = fn(&Snapshot) -> f64;
    let families: [(&str, &str, &str, Read); 8] = [
        ("shema_requests_total", "counter", "Calls that have ended.", |stats| stats.requests as f64),
        ("shema_errors_total", "counter", "Calls that failed: 5xx, traps, timeouts.", |stats| stats.errors as f64),
        ("shema_traps_total", "counter", "Calls that trapped.", |stats| stats.traps as f64),
        ("shema_timeouts_total", "counter", "Calls that overran their deadline.", |stats| stats.timeouts as f64),
        ("shema_cpu_seconds_total", "counter", "Time computed in calls.", |stats| stats.cpu.as_secs_f64()),
        ("shema_instances", "gauge", "Instances in memory.", |stats| stats.instances as f64),
        ("shema_peak_memory_bytes", "gauge", "Linear memory of the largest instance.", |stats| {
            stats.peak_memory as f64
        }),
        ("shema_shadow_different_total", "counter", "Answers that differed in the shadow.", |stats| {
            stats.compared.different as f64
        }),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for (labels, stats) in versions {
            text.sample(name, labels, read(stats));
        }
    }
    let name = "shema_request_seconds";
    text.family(name, "summary", "Duration of calls.");
    for (labels, stats) in versions {
        for (quantile, percent) in [("0.5", 50.0), ("0.95", 95.0), ("0.99", 99.0)] {
            let labels = format!("{labels},quantile=\"{quantile}\"");
            text.sample(name, &labels, stats.percentile_ms(percent) / 1000.0);
        }
        text.sample(&format!("{name}_count"), labels, stats.requests);
    }
}

fn labels(version: &Version) -> String {
    format!("component=\"{}\",version=\"{}\"", version.component, version.id)
}

/// Of this process; None where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
