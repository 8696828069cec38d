//! A real browser without a window: Chromium, driven over its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol>).
//!
//! Each tab has cookies and storage of its own, like a different person. Errors of
//! pages (exceptions, violations of their policy) are kept for the test.

use super::{TIMEOUT, root, scratch_dir, services::installed, spawn};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{Mutex as AsyncMutex, oneshot},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

pub struct Browser {
    child: Child,
    dir: PathBuf,
    link: Arc<Link>,
}

pub struct Tab {
    link: Arc<Link>,
    session: String,
}

/// The DevTools connection, which all tabs share.
struct Link {
    sink: AsyncMutex<SplitSink<WebSocketStream<TcpStream>, Message>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    errors: Mutex<Vec<String>>,
    asked: AtomicU64,
}

/// Viewports for screenshots: name, width, height.
const SIZES: [(&str, u32, u32); 2] = [("wide", 1280, 800), ("phone", 390, 844)];

impl Browser {
    pub async fn start() -> Browser {
        let dir = scratch_dir("browser");
        let mut command = Command::new(installed(&["chromium", "chromium-browser", "google-chrome"], "chromium"));
        // The sandbox needs privileges that root in a container does not have; the
        // pages are our own. Background tabs are not to be throttled.
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-background-timer-throttling"]);
        command.args(["--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]);
        command.args(["--lang=en-GB", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", dir.display()));
        let log = fs::File::create(dir.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = spawn(command);
        let until = Instant::now() + TIMEOUT;
        // Port, and path of the browser's own endpoint.
        let (port, path) = loop {
            let text = fs::read_to_string(dir.join("DevToolsActivePort")).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| path.starts_with('/')) {
                break (port.to_owned(), path.trim().to_owned());
            }
            let ended = child.try_wait().expect("it can be waited for").is_some();
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < until, "Chromium does not start:\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("Chromium listens");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (line, _) = client_async(url, stream).await.expect("a connection to Chromium");
        let (sink, mut heard) = line.split();
        let link = Arc::new(Link {
            sink: AsyncMutex::new(sink),
            waiting: Mutex::default(),
            errors: Mutex::default(),
            asked: AtomicU64::new(0),
        });
        let hearing = Arc::clone(&link);
        tokio::spawn(async move {
            while let Some(Ok(message)) = heard.next().await {
                if let Message::Text(text) = message {
                    hearing.handle(serde_json::from_str(&text).expect("JSON"));
                }
            }
        });
        Browser { child, dir, link }
    }

    /// Opens a page in a new tab.
    pub async fn open(&self, url: &str) -> Tab {
        let context = self.link.call("Target.createBrowserContext", json!({}), None).await;
        let about = json!({ "url": "about:blank", "browserContextId": context["browserContextId"] });
        let target = self.link.call("Target.createTarget", about, None).await;
        let about = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.link.call("Target.attachToTarget", about, None).await;
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let tab = Tab { link: Arc::clone(&self.link), session };
        for domain in ["Runtime", "Log", "Page", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        // Each tab behaves as if it had the focus.
        tab.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
        tab.set_viewport("wide", false).await;
        tab.call("Page.navigate", json!({ "url": url })).await;
        tab.until("document.readyState === 'complete'").await;
        tab
    }

    /// Errors of all pages so far, except those of the network.
    pub fn errors(&self) -> Vec<String> {
        self.link.errors.lock().expect("no panic").clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The profile is large. What child processes still write is removed by the
        // next run.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Link {
    fn handle(&self, message: Value) {
        if let Some(id) = message["id"].as_u64() {
            let asked = self.waiting.lock().expect("no panic").remove(&id);
            let _ = asked.expect("something was asked").send(message);
            return;
        }
        let error = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&message["params"]["exceptionDetails"]),
            Some("Log.entryAdded") => Some(&message["params"]["entry"]).filter(|entry| {
                let is_of_network = entry["source"] == "network"
                    || entry["text"].as_str().is_some_and(|text| text.starts_with("WebSocket connection to"));
                entry["level"] == "error" && !is_of_network
            }),
            _ => None,
        };
        self.errors.lock().expect("no panic").extend(error.map(Value::to_string));
    }

    async fn call(&self, method: &str, params: Value, session: Option<&str>) -> Value {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().expect("no panic").insert(id, sender);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.sink.lock().await.send(Message::text(message.to_string())).await.expect("Chromium listens");
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        let mut answer = answer.unwrap_or_else(|_| panic!("{method} is not answered")).expect("Chromium lives");
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }
}

impl Tab {
    async fn call(&self, method: &str, params: Value) -> Value {
        self.link.call(method, params, Some(&self.session)).await
    }

    /// The value of an expression, or of the promise that it is.
    pub async fn eval(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        let end = Instant::now() + TIMEOUT;
        while self.eval(&format!("Boolean({expression})")).await != true {
            if Instant::now() > end {
                let text = self.eval("document.body.innerText").await;
                panic!("waited in vain for {expression} in a page that shows:\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until an element shows a text.
    pub async fn wait_for_text(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!("document.querySelector({selector})?.checkVisibility() && document.querySelector({selector}).textContent.includes({text})")).await;
    }

    pub async fn is_visible(&self, selector: &str) -> bool {
        self.eval(&format!("Boolean(document.querySelector({})?.checkVisibility())", json!(selector))).await == true
    }

    /// Inserts text at the end of a field.
    pub async fn type_text(&self, selector: &str, text: &str) {
        let field = format!("document.querySelector({})", json!(selector));
        self.eval(&format!("{field}.focus()")).await;
        self.call("Input.insertText", json!({ "text": text })).await;
        // Otherwise a key that is pressed next could overtake it.
        self.until(&format!("{field}.value.endsWith({})", json!(text))).await;
    }

    pub async fn press_enter(&self) {
        let key =
            json!({ "type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r" });
        self.call("Input.dispatchKeyEvent", key).await;
        let key = json!({ "type": "keyUp", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13 });
        self.call("Input.dispatchKeyEvent", key).await;
    }

    /// Waits until an element is visible, and clicks it.
    pub async fn click(&self, selector: &str) {
        let selector_json = json!(selector);
        self.until(&format!("document.querySelector({selector_json})?.checkVisibility()")).await;
        self.eval(&format!("document.querySelector({selector_json}).click()")).await;
    }

    pub async fn reload(&self) {
        self.eval("window.isOld = true").await;
        self.call("Page.reload", json!({})).await;
        self.until("document.readyState === 'complete' && !window.isOld").await;
    }

    /// Takes this tab offline or back online, as if the operating system said so.
    pub async fn set_offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.call("Network.emulateNetworkConditions", conditions).await;
    }

    async fn set_viewport(&self, size: &str, dark: bool) {
        let (_, width, height) = SIZES.into_iter().find(|(name, ..)| *name == size).expect("a size");
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone" });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Screenshots for people, in `target/pages`: each viewport, light and dark. Also
    /// asserts that the page is never wider than its viewport.
    pub async fn take_screenshots(&self, name: &str) {
        let dir = root().join("target/pages");
        fs::create_dir_all(&dir).expect("a directory");
        for (size, ..) in SIZES {
            for dark in [false, true] {
                self.set_viewport(size, dark).await;
                // Two frames later everything has its place.
                let frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))";
                self.eval(&format!("{frames}.then(() => true)")).await;
                let widths = self.eval("[document.documentElement.scrollWidth, innerWidth]").await;
                assert_eq!(widths[0], widths[1], "{name} is too wide for its window");
                let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
                let picture = BASE64_STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("base64");
                let scheme = if dark { "dark" } else { "light" };
                fs::write(dir.join(format!("{name}-{size}-{scheme}.png")), picture).expect("a file");
            }
        }
        self.set_viewport("wide", false).await;
    }
}
