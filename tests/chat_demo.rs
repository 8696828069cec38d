//! The page to try the chat with: what a browser relies on, and then the page in
//! a real browser, with everything going wrong that can go wrong outside of it.
//!
//! Pictures of what it looks like are left in `target/pages`.

use crate::harness::{
    Browser, Chat, Expect, Host, PASSWORD, Proxy, ProxyState, Tab, components, production, setup, shared, variant,
};
use host::runtime::version_id::VersionId;
use serde_json::{Value, json};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const PAGE: &str = "/chat-demo";
const FILES: [(&str, &str); 3] = [
    (PAGE, "text/html; charset=utf-8"),
    ("/chat-demo/chat.js", "text/javascript; charset=utf-8"),
    ("/chat-demo/chat.css", "text/css; charset=utf-8"),
];

#[tokio::test]
async fn the_page_may_load_nothing_but_its_own_files() {
    for (path, kind) in FILES {
        let answer = shared().api().get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(policy.contains("connect-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("x-shema-component").starts_with("cs@"), "{path}");
    }
}

#[tokio::test]
async fn nothing_in_the_page_is_at_odds_with_its_policy() {
    let page = shared().api().get(PAGE).await.text;
    assert!(!page.contains(" style=") && !page.contains("<style"), "styles stand in their file");
    assert!(!page.contains(" onclick") && !page.contains(" onload"), "handlers stand in the script");
    assert_eq!(page.matches("<script").count(), page.matches("<script src=").count());
    assert!(!page.contains("//"), "nothing comes from elsewhere");
    // What people write is text, whatever it looks like.
    let script = shared().api().get("/chat-demo/chat.js").await.text;
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
        assert!(!script.contains(way), "{way}");
    }
}

#[tokio::test]
async fn the_page_is_no_part_of_the_api() {
    let document = shared().api().get("/api/openapi.json").await;
    assert!(
        !document.expect_status(200)["paths"].as_object().expect("paths").keys().any(|path| path.starts_with(PAGE))
    );
    shared().api().get("/chat-demo/nothing").await.expect_error(404, "ROUTE_NOT_FOUND");
    shared().api().post(PAGE, json!({})).await.expect_error(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn there_is_no_page_in_production_or_where_it_is_switched_off() {
    for host in [Host::start(production()), Host::start(setup().set("CHAT_DEMO", "false"))] {
        for (path, _) in FILES {
            host.api().get(path).await.expect_error(404, "ROUTE_NOT_FOUND");
            host.api().post(path, json!({})).await.expect_error(404, "ROUTE_NOT_FOUND");
        }
        host.chat().await;
    }
}

/// Somebody in front of one of the two sides of the page.
struct Person {
    tab: Tab,
    side: &'static str,
    /// What they have written, in order.
    written: std::sync::Mutex<Vec<String>>,
}

/// Notes whenever a page shows something twice or out of order, or takes
/// something back, be it for a moment.
const WATCH: &str = r"
    window.faults = [];
    {
        const log = document.getElementById('SIDE-log');
        let least = 0;
        new MutationObserver(() => {
            const messages = [...log.querySelectorAll('.message')].filter((message) => message.checkVisibility());
            const texts = messages.map((message) => message.querySelector('.bubble').textContent);
            const seqs = messages.map((message) => message.dataset.seq).filter(Boolean).map(Number);
            const twice = texts.filter((text, index) => texts.indexOf(text) !== index);
            if (twice.length) faults.push(`twice: ${twice}`);
            if (seqs.some((seq, index) => index && seq <= seqs[index - 1])) faults.push(`order: ${seqs}`);
            if (messages.length && messages.length < least) faults.push(`taken back: ${texts}`);
            least = messages.length;
        }).observe(log, { childList: true, subtree: true });
    }
";

impl Person {
    async fn guest(browser: &Browser, url: &str, name: &str, email: &str, question: &str) -> Person {
        let guest =
            Person { tab: browser.open(&format!("{url}{PAGE}")).await, side: "guest", written: Vec::new().into() };
        for (field, text) in [("name", name), ("email", email), ("question", question)] {
            guest.tab.type_text(&format!("#guest-{field}"), text).await;
        }
        guest.watches().await;
        guest.tab.click("#guest-start").await;
        guest.wait_until_connected().await;
        guest.written.lock().expect("no panic").push(question.into());
        guest
    }

    async fn admin(browser: &Browser, url: &str, email: &str) -> Person {
        let admin =
            Person { tab: browser.open(&format!("{url}{PAGE}#desk")).await, side: "desk", written: Vec::new().into() };
        admin.tab.type_text("#desk-email", email).await;
        admin.tab.type_text("#desk-password", PASSWORD).await;
        admin.tab.click("#desk-enter").await;
        admin.wait_until_connected().await;
        admin
    }

    async fn watches(&self) {
        self.tab.eval(&WATCH.replace("SIDE", self.side)).await;
    }

    fn id(&self, name: &str) -> String {
        format!("#{}-{name}", self.side)
    }

    async fn wait_for_state(&self, state: &str) {
        self.tab.wait_for_text(&self.id("state"), state).await;
    }

    async fn wait_until_connected(&self) {
        self.wait_for_state("Connected").await;
    }

    /// Opens the chat of the guest with this name.
    async fn opens(&self, name: &str) {
        let find = format!(
            "[...document.querySelectorAll('#desk-list li')].find((row) => row.querySelector('.name').textContent === {})",
            json!(name)
        );
        self.tab.until(&find).await;
        self.tab.eval(&format!("{find}.firstChild.click()")).await;
        self.tab.wait_for_text("#desk-with", name).await;
    }

    async fn sends(&self, text: &str) {
        self.tab.type_text(&self.id("text"), text).await;
        self.tab.press_enter().await;
        self.written.lock().expect("no panic").push(text.into());
    }

    async fn sends_all(&self, topic: &str, number: usize) {
        for number in 1..=number {
            self.sends(&format!("{} says {topic} {number}", self.side)).await;
        }
    }

    /// Number and text of each message on the screen; 0 for one without number.
    async fn sees(&self) -> Vec<(u64, String)> {
        let list = format!(
            "[...document.querySelectorAll('{} .message')]
                .map((message) => [Number(message.dataset.seq ?? 0), message.querySelector('.bubble').textContent])",
            self.id("log")
        );
        let seen: Vec<Value> = self.tab.eval(&list).await.as_array().expect("a list").clone();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        seen.iter().map(|message| (message[0].as_u64().expect("a number"), text(&message[1]))).collect()
    }

    async fn wait_for_message(&self, text: &str) {
        self.tab.wait_for_text(&self.id("log"), text).await;
    }

    /// Everything that was written has been acknowledged.
    async fn wait_for_delivery(&self) {
        self.tab.until(&format!("!document.querySelector('{} :is(.waiting, .sent, .failed)')", self.id("log"))).await;
    }

    /// Everything that was said there is on the screen, once and in order.
    async fn has_all_of(&self, chat: &Chat<'_>) {
        let stored: Vec<_> = chat.read_after(0).await.iter().map(numbered).collect();
        let last = stored.last().expect("a message").0;
        self.tab.until(&format!("document.querySelector('{} [data-seq=\"{last}\"]')", self.id("log"))).await;
        assert_eq!(self.sees().await, stored);
        let own: Vec<_> = self.written.lock().expect("no panic").clone();
        let of_own: Vec<_> = stored.into_iter().map(|(_, text)| text).filter(|text| own.contains(text)).collect();
        assert_eq!(of_own, own, "as it was written");
        assert_eq!(self.tab.eval("window.faults ?? []").await, json!([]));
    }

    /// The guest's chat, as the page keeps it.
    async fn chat<'a>(&self, host: &'a Host) -> Chat<'a> {
        let kept = self.tab.eval("JSON.parse(sessionStorage.getItem('shema-chat-guest'))").await;
        Chat::of(host, &json!({ "session": kept["session"], "session_token": kept["token"] }))
    }
}

fn numbered(message: &Value) -> (u64, String) {
    let text = message["content"].as_str().expect("a text").to_owned();
    (message["seq"].as_u64().expect("a number"), text)
}

/// All of them at once.
async fn all<'a, F: Future<Output = ()>>(people: &'a [Person; 4], act: impl Fn(&'a Person) -> F) {
    futures_util::future::join_all(people.iter().map(act)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_in_a_browser_go_on_whatever_happens() {
    // Short lifetimes: logins are refreshed and connections end with their tokens
    // all the time.
    let host = Host::start(
        setup()
            .set("JWT_EXPIRES_IN", "30s")
            .set("CHAT_GREETING", "Selamat datang! Ask us anything.")
            .set("CHAT_OFFICE_HOURS", "Monday to Saturday, 09:00 to 17:00"),
    );
    let (first, second) = (host.user("admin").await, host.user("admin").await);
    let proxy = Proxy::to(&host.url).await;
    let (browser, url) = (Browser::start().await, proxy.http());

    // Two guests come, and two admins see them.
    let question = "Hello! Do you have piano lessons for children?";
    let siti = Person::guest(&browser, &url, "Siti Rahma", "siti@example.org", question).await;
    siti.tab.wait_for_text("#guest-note", "Selamat datang!").await;
    let budi = Person::guest(&browser, &url, "Budi Santoso", "budi@example.org", "What does a lesson cost?").await;
    let ann = Person::admin(&browser, &url, &first.email).await;
    let ben = Person::admin(&browser, &url, &second.email).await;
    for admin in [&ann, &ben] {
        admin.tab.until("document.querySelectorAll('#desk-list .dot.on').length === 2").await;
        let badges = "[...document.querySelectorAll('#desk-list .badge')].map((badge) => badge.textContent).join()";
        admin.tab.until(&format!("{badges} === '1,1'")).await;
        admin.watches().await;
    }
    ann.tab.take_screenshots("desk-list").await;
    ann.opens("Siti Rahma").await;
    ann.tab.click("#desk-take").await;
    ann.tab.wait_for_text("#desk-holder", "You have this chat.").await;
    ben.opens("Budi Santoso").await;
    // An answer takes the chat as well.
    ben.sends("A first lesson is free.").await;
    ben.tab.wait_for_text("#desk-holder", "You have this chat.").await;
    ann.sends("Yes, from six years on, on Tuesdays and Thursdays. Shall I book a first lesson for you?").await;
    siti.tab.wait_for_text("#guest-with", "Some admin").await;
    siti.sends("Yes, please! Thursday would be best.").await;
    siti.tab.wait_for_text("#guest-log .message:last-child .mark", "Read").await;
    ann.tab.wait_for_text("#desk-log .own .mark", "Read").await;

    // One types, and the other sees it.
    siti.tab.type_text("#guest-text", "Her name is Putri").await;
    ann.tab.wait_for_text("#desk-typing", "Siti Rahma is typing").await;
    ann.tab.wait_for_text("#desk-list [aria-current] .preview", "is typing").await;
    ann.tab.type_text("#desk-text", "How old is").await;
    siti.tab.wait_for_text("#guest-typing", "Some admin is typing").await;
    siti.tab.take_screenshots("guest").await;
    ann.tab.take_screenshots("desk").await;
    for person in [&siti, &ann] {
        person.tab.press_enter().await;
        let text = if person.side == "guest" { "Her name is Putri" } else { "How old is" };
        person.written.lock().expect("no panic").push(text.into());
        person.wait_for_message(text).await;
    }

    // What looks like markup is text.
    let markup = "<img src=x onerror=\"window.hacked = true\"><b>bold</b>";
    budi.sends(markup).await;
    for person in [&budi, &ben] {
        person.wait_for_message(markup).await;
        let count = "document.querySelectorAll('img, b, .bubble *').length";
        assert_eq!(person.tab.eval(&format!("[{count}, typeof window.hacked]")).await, json!([0, "undefined"]));
    }

    let people = [siti, budi, ann, ben];
    let [siti, budi, ann, ben] = &people;
    let (of_siti, of_budi) = (siti.chat(&host).await, budi.chat(&host).await);

    // New versions of the chat go live while all of them write.
    let wasm = fs::read(components().join("cs.wasm")).expect("the chat");
    let versions: Vec<_> = (1..=2).map(|number| variant(&wasm, number)).collect();
    let written = AtomicBool::new(false);
    let swapping = async {
        for wasm in &versions {
            host.deploy("cs", wasm, "").await.expect_status(201);
        }
        let mut turns = 0;
        while turns < 10 || !written.load(Ordering::Relaxed) {
            let body = json!({ "version": VersionId::of(&versions[turns % 2]).to_string() });
            host.control().post("/v1/components/cs/activate", body).await.expect_status(200);
            turns += 1;
            // A moment for those who write.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let writing = async {
        all(&people, |person| person.sends_all("during the swap", 10)).await;
        written.store(true, Ordering::Relaxed);
    };
    futures_util::join!(swapping, writing);
    all(&people, |person| person.wait_for_delivery()).await;

    // Packets get lost, which nobody is told, and then the connections as well.
    proxy.set(ProxyState::Stalled);
    all(&people, |person| person.sends_all("into the void", 3)).await;
    all(&people, |person| person.wait_for_state("Reconnecting")).await;
    siti.tab.take_screenshots("guest-reconnecting").await;
    proxy.set(ProxyState::Closed);
    all(&people, |person| person.sends_all("without a network", 2)).await;
    proxy.set(ProxyState::Open);
    all(&people, |person| person.wait_until_connected()).await;

    // A short silence, after which what was underway arrives after all, beside
    // what was sent again.
    proxy.set(ProxyState::Stalled);
    all(&people, |person| person.sends_all("in a tunnel", 2)).await;
    all(&people, |person| person.wait_for_state("Reconnecting")).await;
    proxy.set(ProxyState::Open);
    all(&people, |person| person.wait_until_connected()).await;

    // The system says that there is no network, and that there is one.
    for person in [siti, ben] {
        person.tab.set_offline(true).await;
    }
    all(&people, |person| person.sends_all("in flight mode", 2)).await;
    for person in [siti, ben] {
        person.wait_for_state("Offline").await;
        person.tab.set_offline(false).await;
        person.wait_until_connected().await;
    }
    all(&people, |person| person.wait_for_delivery()).await;
    for (person, chat) in [(siti, &of_siti), (ann, &of_siti), (budi, &of_budi), (ben, &of_budi)] {
        person.has_all_of(chat).await;
    }

    // A guest sees no chat but one.
    for (guest, other, question) in [(siti, &of_budi, "lesson cost"), (budi, &of_siti, "piano lessons")] {
        assert!(!guest.tab.eval("document.body.textContent").await.as_str().expect("a text").contains(question));
        let read = format!(
            "fetch('{}', {{ headers: {{ 'x-session-token':
                JSON.parse(sessionStorage.getItem('shema-chat-guest')).token }} }}).then((answer) => answer.status)",
            other.path()
        );
        assert_eq!(guest.tab.eval(&read).await, 403);
    }

    // A reload is the same person in the same chat, with what was not sent yet.
    siti.tab.set_offline(true).await;
    siti.sends("Written just before the reload").await;
    let waits = "JSON.parse(sessionStorage.getItem('shema-chat-guest')).unsent.length === 1";
    siti.tab.until(waits).await;
    siti.tab.set_offline(false).await;
    siti.tab.reload().await;
    ann.tab.reload().await;
    for person in [siti, ann] {
        person.watches().await;
        person.wait_until_connected().await;
        person.wait_for_message("Written just before the reload").await;
        person.wait_for_delivery().await;
    }
    assert!(!siti.tab.is_visible("#guest-form").await && !ann.tab.is_visible("#desk-login").await);
    siti.has_all_of(&of_siti).await;
    // The desk begins with the latest messages; the others are there when asked for.
    let first_seq = "Number(document.querySelector('#desk-log .message').dataset.seq)";
    ann.tab.until(&format!("{first_seq} > 1")).await;
    ann.tab.click("#desk-earlier").await;
    ann.tab.until(&format!("{first_seq} === 1")).await;
    assert!(!ann.tab.is_visible("#desk-earlier").await);
    ann.has_all_of(&of_siti).await;

    // Another admin takes over, and ends it.
    ben.opens("Siti Rahma").await;
    ben.tab.wait_for_text("#desk-holder", "Some admin has this chat.").await;
    assert!(!ben.tab.is_visible("#desk-composer").await);
    ben.tab.click("#desk-take").await;
    ben.tab.wait_for_text("#desk-holder", "You have this chat.").await;
    ben.sends("Thank you for your patience.").await;
    siti.wait_for_message("Thank you for your patience.").await;
    ann.tab.until("!document.querySelector('#desk-composer').checkVisibility()").await;
    ben.tab.click("#desk-close").await;
    ben.tab.click("#ask-close .main").await;
    siti.tab.wait_for_text("#guest-closed", "This chat is closed.").await;
    siti.wait_for_message("The chat has been closed by our customer service.").await;
    ben.tab.wait_for_text("#desk-holder", "This chat is closed.").await;
    siti.tab.take_screenshots("guest-closed").await;
    ben.tab.take_screenshots("desk-closed").await;
    siti.tab.click("#guest-again").await;
    assert_eq!(siti.tab.eval("document.querySelector('#guest-email').value").await, "siti@example.org");
    siti.tab.take_screenshots("guest-form").await;
    ben.tab.click("#desk-leave").await;
    ben.tab.until("document.querySelector('#desk-login').checkVisibility()").await;
    ben.tab.take_screenshots("desk-login").await;

    assert_eq!(browser.errors(), Vec::<String>::new());
}
