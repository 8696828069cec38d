//! `shema dev`: what one writes is live a moment later, and what is broken
//! never is.

use crate::harness::{Api, Checkout, Setup, root, scratch_dir, setup, signal, spawn, until};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A checkout, and `shema dev` at work in it.
struct Dev {
    checkout: Checkout,
    data_dir: PathBuf,
    child: Child,
    api: Api,
}

impl Dev {
    /// With one component, as `shema new` makes it.
    async fn start() -> Dev {
        let checkout = Checkout::new();
        assert!(checkout.shema(&["new", "greeting"]).output().expect("shema runs").status.success());
        // Here without a limit of time: on a new machine the dependencies take long.
        let mut cargo = checkout.command("cargo", &["build", "--quiet", "--package", "greeting"]);
        cargo.args(["--target", "wasm32-wasip2", "--profile", "component-dev"]);
        assert!(cargo.status().expect("cargo runs").success());
        let data_dir = scratch_dir("dev");
        let file = data_dir.join("host.toml");
        fs::copy(root().join("host/host.toml"), &file).expect("a file");
        let mut command = checkout.shema(&["dev"]);
        let Setup { mut environment, .. } = setup();
        environment.remove("SHEMA_COMPONENTS");
        command.envs(environment).env("SHEMA_DATA_DIR", &data_dir).env("SHEMA_CONFIG", &file);
        // It is asked without pause.
        command.env("RUST_LOG", "info,request=warn");
        let log = fs::File::create(data_dir.join("log")).expect("a log");
        command.stdout(fs::File::create(data_dir.join("out")).expect("a file")).stderr(log);
        let child = spawn(command);
        let note = until("the host of shema dev", async || fs::read(data_dir.join("listen.json")).ok()).await;
        let note: Value = serde_json::from_slice(&note).expect("JSON");
        let api = Api::new(note["public"].as_str().expect("a text"));
        Dev { checkout, data_dir, child, api }
    }

    fn write(&self, path: &str, change: impl Fn(&str) -> String) {
        let path = self.checkout.dir.join(path);
        let text = fs::read_to_string(&path).expect("a file");
        let changed = change(&text);
        assert_ne!(text, changed, "{} is changed", path.display());
        fs::write(path, changed).expect("a file");
    }

    fn out(&self) -> String {
        fs::read_to_string(self.data_dir.join("out")).expect("a file")
    }

    /// Rewrites the one line that greets.
    fn say(&self, word: &str) {
        let line = format!("    Greeting {{ message: format!(\"{word}, {{}}!\", name.unwrap_or(\"world\")) }}");
        let is_the_one = |line: &&str| line.trim_start().starts_with("Greeting {");
        let rewrite = |text: &str| {
            let old = text.lines().find(is_the_one).expect("the line is there");
            text.replace(old, &line)
        };
        self.write("components/greeting/src/domain.rs", rewrite);
    }

    /// The label of the version that greets so, once one does.
    async fn greets(&self, word: &str) -> String {
        let greets = async || {
            let answer = self.api.get("/api/greeting?name=Ada").await;
            (answer.body["data"]["message"] == format!("{word}, Ada!")).then_some(answer)
        };
        until(&format!("the greeting {word}"), greets).await.header("x-shema-component").to_owned()
    }

    /// The next line about a component, after as many.
    async fn line(&self, component: &str, after: usize) -> String {
        let start = format!("{component}  ");
        let nth = async || self.out().lines().filter(|line| line.starts_with(&start)).nth(after).map(str::to_owned);
        until(&format!("a line about {component}"), nth).await
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.data_dir.join("log")).unwrap_or_default();
            eprintln!("shema dev said:\n{}\n{log}", self.out());
        } else {
            let _ = fs::remove_dir_all(&self.data_dir);
        }
    }
}

/// Asks until it is told to stop; returns how many answers were no good.
fn ask_without_pause(api: Api, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<(usize, usize)> {
    tokio::spawn(async move {
        let (mut good, mut bad) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let answer = api.get("/api/greeting").await;
            if answer.status == 200 { good += 1 } else { bad += 1 }
        }
        (good, bad)
    })
}

#[tokio::test]
async fn what_is_written_is_live_and_what_is_broken_never_is() {
    let mut dev = Dev::start().await;
    let first = dev.greets("Hello").await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_without_pause(dev.api.clone(), Arc::clone(&stop));

    dev.say("Good morning");
    let second = dev.greets("Good morning").await;
    assert_ne!(first, second);
    let line = dev.line("greeting", 1).await;
    let told = ["built ", "checked ", "compiled ", "live in ", &second];
    assert!(told.iter().all(|part| line.contains(part)), "{line}");

    // Broken sources are built and refused; the version before goes on.
    dev.write("components/greeting/src/lib.rs", |text| text.replace("sdk::component!", "sdk::no_such_thing!"));
    assert_eq!(dev.line("greeting", 2).await, "greeting  not built; what was live stays live");
    let log = fs::read_to_string(dev.data_dir.join("log")).expect("a log");
    assert!(log.contains("no_such_thing"), "the compiler's words are shown: {log}");
    assert_eq!(dev.greets("Good morning").await, second);

    // Several saves, some of them while the one before is built: the last counts.
    dev.write("components/greeting/src/lib.rs", |text| text.replace("sdk::no_such_thing!", "sdk::component!"));
    for word in ["One", "Two", "Three"] {
        dev.say(word);
    }
    dev.greets("Three").await;

    // A component that is new, beside the one that runs.
    let made = dev.checkout.shema(&["new", "second-one"]).output().expect("shema runs");
    assert!(made.status.success());
    let answers = async || (dev.api.get("/api/second-one").await.status == 200).then_some(());
    until("the new component", answers).await;

    // What all are made of.
    let line = dev.out().lines().filter(|line| line.starts_with("greeting  ")).count();
    dev.write("components/sdk/src/reply.rs", |text| {
        text.replace("Envelope { success: true", "Envelope { success: !false")
    });
    dev.line("greeting", line).await;
    dev.line("second-one", 1).await;

    stop.store(true, Ordering::Relaxed);
    let (good, bad) = asking.await.expect("no panic");
    assert!(good > 0 && bad == 0, "{bad} of {} requests failed over the swaps", good + bad);

    signal(dev.child.id(), nix::sys::signal::Signal::SIGINT);
    assert_eq!(dev.child.wait().expect("reaped").code(), Some(0));
    assert!(!dev.data_dir.join("listen.json").exists());
}
