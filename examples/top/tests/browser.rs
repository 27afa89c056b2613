//! The page in a real browser, headless: it loads, its numbers move, and its buttons change the pool.
//!
//! It needs chromium and its driver: `ci/browser.sh` installs them if it may, and runs this.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;
#[path = "support/webdriver.rs"]
mod webdriver;

use std::sync::mpsc::channel;

use formicary::Pool;
use formicary::observe::registry;
use formicary_top::demo::Demo;
use formicary_top::web::serve;
use parking_lot::Mutex;
use support::eventually;
use webdriver::Browser;

/// One test at a time: the page shows all pools of the process.
static ONE: Mutex<()> = Mutex::new(());

/// A registered pool whose name occurs once.
fn registered(name: &str) -> Pool {
    let pool = Pool::builder().name(name).workers(2).queue(8).latencies().running_tasks().build().unwrap();
    registry().add(&pool);
    pool
}

fn field(pool: &str, field: &str) -> String {
    format!("[data-pool={pool}] [data-field={field}]")
}

fn button(pool: &str, action: &str) -> String {
    format!("[data-pool={pool}] [data-action={action}]")
}

#[test]
#[ignore = "needs chromium: ci/browser.sh"]
fn the_page_shows_and_controls_a_pool() {
    let _one = ONE.lock();
    let pool = registered("watched");
    let server = serve("127.0.0.1:0".parse().unwrap()).unwrap();
    let browser = Browser::start();
    browser.open(&format!("http://{}/", server.addr()));
    browser.wait_for("#status", "1 pool, live");
    browser.wait_for(&field("watched", "name"), "watched");

    // Numbers move.
    browser.wait_for(&field("watched", "completed"), "0");
    for _ in 0..7 {
        pool.with().name("counted").run(|| ()).unwrap();
    }
    browser.wait_for(&field("watched", "completed"), "7");
    browser.wait_for("[data-pool=watched] tbody tr:nth-child(2) td", "counted");

    // A running task is in a cell, and its time moves. Its name is text, whatever is in it.
    let (release, gate) = channel::<()>();
    let name = "<b id=injected>held</b>";
    pool.with().name(name).submit(move || gate.recv()).unwrap();
    browser.wait_for("[data-pool=watched] .cell.long div", name);
    assert_eq!(browser.value("document.getElementById('injected')"), serde_json::Value::Null);
    let time = "[data-pool=watched] .cell.long .time";
    let before = browser.text(time).unwrap();
    eventually("the task's time moves", || browser.text(time).filter(|now| *now != before));

    // The buttons: what the page asks for is what the pool has, and what it shows afterwards.
    for (action, workers) in [("more", 3), ("more", 4), ("less", 3)] {
        browser.click(&button("watched", action));
        eventually("the capacity changes", || (pool.capacity() == workers).then_some(()));
        browser.wait_for(&field("watched", "capacity"), &workers.to_string());
    }
    browser.click(&button("watched", "pause"));
    eventually("the pool pauses", || pool.is_paused().then_some(()));
    browser.wait_for(&button("watched", "pause"), "Resume");
    assert_eq!(browser.value("document.querySelector('.badge').hidden"), false);
    pool.submit(|| ()).unwrap();
    browser.wait_for(&field("watched", "queue"), "1 of 8");
    browser.click(&button("watched", "pause"));
    eventually("the pool resumes", || (!pool.is_paused()).then_some(()));
    browser.wait_for(&button("watched", "pause"), "Pause");
    browser.wait_for(&field("watched", "completed"), "8");

    // A second pool joins, and leaves.
    let second = registered("second");
    browser.wait_for("#status", "2 pools, live");
    drop(second);
    browser.wait_for("#status", "1 pool, live");
    assert_eq!(browser.text(&field("second", "name")), None);
    drop(release);

    let errors = browser.console();
    assert!(errors.is_empty(), "{errors:?}");
    drop(server);
    browser.wait_for("#status", "no connection to the process: what is shown is old");
}

/// Three pools under load fit on a screen of 1280 by 800. The picture is `top.png` in the directory for test files, or where
/// `FORMICARY_TOP_PICTURE` says.
#[test]
#[ignore = "needs chromium: ci/browser.sh"]
fn three_pools_fit_on_a_screen() {
    let _one = ONE.lock();
    let _demo = Demo::start().unwrap();
    let server = serve("127.0.0.1:0".parse().unwrap()).unwrap();
    let browser = Browser::start();
    browser.resize(1280, 800);
    browser.open(&format!("http://{}/", server.addr()));
    browser.wait_for("#status", "3 pools, live");
    // Some of the load, or as much as the lines hold for a picture that is kept; and a long query in its cell.
    let picture = std::env::var_os("FORMICARY_TOP_PICTURE");
    let enough = if picture.is_some() { 100 } else { 12 };
    let points = "document.querySelector('[data-pool=queries] polyline').getAttribute('points').split(' ').length";
    let is_full = |browser: &Browser| browser.value(points).as_u64() >= Some(enough);
    eventually("the lines are full", || is_full(&browser).then_some(()));
    eventually("a query is long", || browser.text("[data-pool=queries] .cell.long"));

    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for scheme in ["dark", "light"] {
        browser.prefer(scheme);
        let screenshot = browser.screenshot();
        // The sizes in the header of a PNG.
        assert_eq!(screenshot[16..24], [0, 0, 5, 0, 0, 0, 3, 32]);
        assert!(screenshot.len() < 200 * 1024, "{} bytes", screenshot.len());
        let path = match &picture {
            Some(path) if scheme == "light" => path.into(),
            _ => folder.join(format!("top-{scheme}.png")),
        };
        std::fs::write(&path, screenshot).unwrap();
        println!("{}", path.display());
    }
    let overflow = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]";
    assert_eq!(browser.value(overflow), serde_json::json!([1280, 800]));
    let errors = browser.console();
    assert!(errors.is_empty(), "{errors:?}");
}
