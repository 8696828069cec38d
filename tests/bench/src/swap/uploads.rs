//! From upload to live on a quiet host: an artifact that it has never seen.

use super::scenario::Scenario;
use anyhow::Result;

const UPLOADS: usize = 9;

#[derive(Default)]
pub struct Uploads {
    pub check_ms: Vec<f64>,
    pub compile_ms: Vec<f64>,
    pub swap_us: Vec<f64>,
    pub took_ms: Vec<f64>,
}

pub async fn run(scenario: &Scenario<'_>) -> Result<Uploads> {
    let mut uploads = Uploads::default();
    for number in 1..=UPLOADS {
        let artifact = scenario.artifacts.fresh(&scenario.artifacts.course);
        let change = scenario.deploy(&scenario.course, &artifact, None, "").await?;
        let took_ms = change.took.as_secs_f64() * 1e3;
        eprintln!("upload {number}/{UPLOADS}  course is live after {took_ms:.0} ms");
        uploads.check_ms.push(change.check_ms);
        uploads.compile_ms.push(change.compile_ms);
        uploads.swap_us.push(change.swap_us);
        uploads.took_ms.push(took_ms);
    }
    Ok(uploads)
}
