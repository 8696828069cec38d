//! The table of `shema status`.

use super::{Paint, bytes};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// Older retired and refused versions are in `--json`.
const NEWEST: usize = 3;
const HEADINGS: [&str; 7] = ["COMPONENT", "VERSION", "STATE", "SHARE", "SINCE", "SIZE", "MOUNTS"];

/// `components`, `nodes` and `health` as the control API answers them.
pub fn status(components: &Value, nodes: &Value, health: &Value, paint: Paint) -> String {
    let now = Utc::now();
    let mut rows = vec![HEADINGS.map(String::from)];
    for component in list(components) {
        rows.extend(component_rows(component, now));
    }
    let mut text = table(&rows, paint);
    let rows: Vec<_> = list(nodes).iter().map(|node| node_row(node, now)).collect();
    if !rows.is_empty() {
        let headings = ["NODE", "STATE", "PUBLIC", "SINCE"].map(String::from);
        text += &format!("\n{}", table(&[vec![headings], rows].concat(), paint));
    }
    let state = |name: &str| word(health, name);
    text += &format!(
        "\ndatabase {}, redis {}\n",
        paint.state(&state("database"), state("database")),
        paint.state(&state("redis"), state("redis"))
    );
    text
}

fn component_rows(component: &Value, now: DateTime<Utc>) -> Vec<[String; 7]> {
    let versions = component.get("versions").unwrap_or(&Value::Null);
    let mounts: Vec<&str> =
        list(component.get("mounts").unwrap_or(&Value::Null)).iter().filter_map(Value::as_str).collect();
    let mut rows = Vec::new();
    for (index, version) in list(versions).iter().enumerate() {
        let state = word(version, "state");
        if index >= NEWEST && matches!(state.as_str(), "retired" | "refused") {
            continue;
        }
        let weight = version.get("weight").and_then(Value::as_f64).unwrap_or(0.0);
        let share = share(&state, weight);
        rows.push([
            String::new(),
            word(version, "version"),
            state,
            share,
            since(&word(version, "deployed_at"), now),
            version.get("size_bytes").and_then(Value::as_u64).map_or("-".into(), bytes),
            String::new(),
        ]);
    }
    if rows.is_empty() {
        let [state, none] = ["missing", "-"].map(String::from);
        rows.push([String::new(), none.clone(), state, none.clone(), none.clone(), none, String::new()]);
    }
    if let Some(first) = rows.first_mut() {
        first[0] = word(component, "name");
        first[6] = mounts.join(", ");
    }
    rows
}

fn share(state: &str, weight: f64) -> String {
    match state {
        _ if weight > 0.0 => format!("{weight} %"),
        "canary" => "shadow".into(),
        _ => "-".into(),
    }
}

fn node_row(node: &Value, now: DateTime<Utc>) -> [String; 4] {
    [word(node, "node"), word(node, "state"), word(node, "public"), since(&word(node, "started_at"), now)]
}

/// Columns as wide as their widest cell; the last is not padded.
fn table<const N: usize>(rows: &[[String; N]], paint: Paint) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padded = if column + 1 == N { cell.clone() } else { format!("{cell:<width$}  ") };
            let heading = rows.first().and_then(|row| row.get(column)).map_or("", String::as_str);
            line += &match (index, column, heading) {
                (0, ..) => paint.dim(padded),
                (_, 0, _) => paint.bold(padded),
                (.., "STATE") => paint.state(cell, padded),
                _ => padded,
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn since(at: &str, now: DateTime<Utc>) -> String {
    let Ok(at) = DateTime::parse_from_rfc3339(at) else { return "-".into() };
    let seconds = now.signed_duration_since(at).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_version_that_matters_has_a_line_under_its_component() {
        let version = |name: &str, state: &str, weight: u8| json!({ "version": name, "state": state, "weight": weight, "size_bytes": 831_488 });
        let components = json!([
            { "name": "orders", "mounts": ["/api/orders", "/api/rooms"], "versions": [
                version("d", "canary", 0), version("c", "canary", 5), version("b", "live", 95), version("a", "retired", 0),
            ] },
            { "name": "cs", "mounts": ["/api/cs"], "versions": [] },
        ]);
        let nodes = json!([{ "node": "one", "state": "ready", "public": "http://127.0.0.1:3000" }]);
        let health = json!({ "database": "up", "redis": "down" });
        let expected = "\
COMPONENT  VERSION  STATE    SHARE   SINCE  SIZE     MOUNTS
orders     d        canary   shadow  -      812 KiB  /api/orders, /api/rooms
           c        canary   5 %     -      812 KiB
           b        live     95 %    -      812 KiB
cs         -        missing  -       -      -        /api/cs

NODE  STATE  PUBLIC                 SINCE
one   ready  http://127.0.0.1:3000  -

database up, redis down
";
        assert_eq!(status(&components, &nodes, &health, Paint(false)), expected);
    }
}
