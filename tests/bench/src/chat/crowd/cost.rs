//! What a process and the kernel use, as the kernel tells.

use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// Resident memory of a process, in bytes.
pub fn resident(process: u32) -> Result<f64> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has no second field")?.parse()?;
    Ok(pages as f64 * rustix::param::page_size() as f64)
}

/// Time that all threads of a process have computed, here and in the kernel.
pub fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    Ok(Duration::from_secs_f64(ticks(&stat)? as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Fields 14 and 15; the name in the second one may hold blanks.
fn ticks(stat: &str) -> Result<u64> {
    let (_, fields) = stat.rsplit_once(") ").context("stat has no name")?;
    let times: Vec<u64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(times.len() == 2, "stat is too short");
    Ok(times.iter().sum())
}

/// What the kernel of this machine holds, in bytes.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// In the buffers of TCP.
    pub buffers: f64,
    /// In its own objects, those of sockets among them.
    pub objects: f64,
}

pub fn kernel() -> Result<Kernel> {
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let pages = number_after(&sockets, "TCP:", "mem").context("sockstat tells no memory of TCP")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = number_after(&memory, "Slab:", "Slab:").context("meminfo tells no Slab")?;
    Ok(Kernel { buffers: pages * rustix::param::page_size() as f64, objects: kib * 1024.0 })
}

/// In the line that begins with `line`, the number after the word.
fn number_after(text: &str, line: &str, word: &str) -> Option<f64> {
    let line = text.lines().find(|text| text.starts_with(line))?;
    line.split_whitespace().skip_while(|part| *part != word).nth(1)?.parse().ok()
}

/// Of the straight line that is nearest to these points.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |read: fn(&(f64, f64)) -> f64| points.iter().map(read).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let run: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    rise / run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_nearest_line() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]), 0.0);
        assert!(slope(&[(1.0, 1.0)]).is_nan());
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 10 20 30 40 250 50 1 2 20 0";
        assert_eq!(ticks(stat).ok(), Some(300));
        assert!(ticks("7 (a) S 1").is_err());
    }

    #[test]
    fn the_kernel_is_read() {
        let text = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 1 alloc 4 mem 12\nUDP: inuse 1 mem 7\n";
        assert_eq!(number_after(text, "TCP:", "mem"), Some(12.0));
        assert_eq!(number_after("Slab:   100 kB\n", "Slab:", "Slab:"), Some(100.0));
        assert_eq!(number_after(text, "TCP6:", "mem"), None);
        assert!(kernel().is_ok());
    }
}
