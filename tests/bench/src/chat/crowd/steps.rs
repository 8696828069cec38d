//! Memory of the host while the crowd grows, step by step.

use super::{
    clients::{Clients, Seat, Way},
    cost::{self, Kernel},
};
use crate::{median, processes::Host};
use anyhow::Result;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const STEPS: usize = 5;
/// After the last one of a step has arrived …
const SETTLING: Duration = Duration::from_secs(3);
/// … so many looks.
const LOOKS: usize = 7;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

pub struct Steps {
    /// Sockets and bytes.
    pub points: Vec<(f64, f64)>,
    /// What the kernel holds more for each of the sockets, at both ends.
    pub kernel: Kernel,
}

impl Steps {
    pub fn bytes_per_socket(&self) -> f64 {
        cost::slope(&self.points)
    }

    pub fn in_words(&self) -> String {
        let points = self.points.iter().map(|(sockets, bytes)| format!("{sockets}: {:.1}", bytes / f64::from(1 << 20)));
        points.collect::<Vec<_>>().join(", ")
    }
}

/// Takes all seats. The first step is a point of the line, nothing before it:
/// with it comes what a host needs for having sockets at all.
pub async fn grow_in_steps(host: &Host, clients: &mut Clients, seats: &[Arc<Seat>], name: &str) -> Result<Steps> {
    let mut points = Vec::new();
    let mut open = 0;
    let kernel_before = cost::kernel()?;
    for step in seats.chunks(seats.len().div_ceil(STEPS)) {
        clients.open(step, Way::InTurn).await?;
        open += step.len();
        let bytes = settled(host.process.id()).await?;
        eprintln!("{name}  {open:5} sockets  {:.1} MiB", bytes / f64::from(1 << 20));
        points.push((open as f64, bytes));
    }
    let kernel = cost::kernel()?;
    let each = |before: f64, after: f64| (after - before) / open as f64;
    let kernel = Kernel {
        buffers: each(kernel_before.buffers, kernel.buffers),
        objects: each(kernel_before.objects, kernel.objects),
    };
    Ok(Steps { points, kernel })
}

async fn settled(process: u32) -> Result<f64> {
    sleep(SETTLING).await;
    let mut looks = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        looks.push(cost::resident(process)?);
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(median(looks))
}
