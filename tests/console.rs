//! The page of the control listener. What it does is done in a browser; here is
//! what a browser relies on.

use crate::harness::{Answer, Api, shared};

async fn get(path: &str) -> Answer {
    Api::new(&shared().control).get(path).await
}

#[tokio::test]
async fn the_page_needs_no_token_and_may_load_nothing_but_its_own_files() {
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
        ("/console.css", "text/css; charset=utf-8"),
    ] {
        let answer = get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn nothing_in_the_page_is_at_odds_with_its_policy() {
    let page = get("/").await.text;
    assert!(!page.contains(" style=") && !page.contains("<style"), "styles stand in their file");
    assert!(!page.contains(" onclick") && !page.contains(" onload"), "handlers stand in the script");
    assert_eq!(page.matches("<script").count(), page.matches("<script src=").count());
    assert!(!page.contains("//"), "nothing comes from elsewhere");
    // What comes from components and from people is text, whatever it looks like.
    let script = get("/console.js").await.text;
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(way), "{way}");
    }
}

#[tokio::test]
async fn what_the_page_asks_for_needs_the_token() {
    for path in ["/v1/components", "/v1/nodes", "/v1/events", "/v1/components/course/stats", "/v1/logs"] {
        assert_eq!(get(path).await.status, 401, "{path}");
    }
}
