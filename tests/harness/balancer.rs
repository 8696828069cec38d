//! haproxy in front of several hosts, as an operator would put it there.

use super::{TIMEOUT, scratch_dir, services::installed, spawn};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Instant,
};

pub struct Balancer {
    pub url: String,
    child: Child,
}

impl Balancer {
    /// Balances over the public URLs of these hosts. It does not retry, so that every
    /// failure is seen; a host whose `/health` is not 200 gets no requests.
    pub fn start(hosts: &[&str]) -> Balancer {
        let dir = scratch_dir("balancer");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let servers: String = hosts
            .iter()
            .enumerate()
            .map(|(number, url)| format!("  server host{number} {} check\n", url.trim_start_matches("http://")))
            .collect();
        let config = format!(
            "defaults\n  mode http\n  timeout connect 60s\n  timeout check 60s\n  timeout client 180s\n  timeout server 180s\n  retries 0\n\
             frontend public\n  bind {address}\n  default_backend hosts\n\
             backend hosts\n  balance roundrobin\n  option httpchk GET /health\n  http-check expect status 200\n\
             \x20 default-server inter 200ms fall 3 rise 1\n{servers}"
        );
        let file = dir.join("haproxy.cfg");
        fs::write(&file, config).expect("haproxy.cfg");
        drop(listener);
        let mut command = Command::new(installed(&["haproxy"], "haproxy"));
        let log = fs::File::create(dir.join("log")).expect("a log");
        command.arg("-db").arg("-f").arg(file);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = spawn(command);
        let until = Instant::now() + TIMEOUT;
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("it can be waited for").is_some();
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < until, "haproxy does not start:\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Balancer { url: format!("http://{address}"), child }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
