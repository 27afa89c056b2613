//! A browser that is driven by the WebDriver protocol: chromium through chromedriver. Linux only.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{LIMIT, send};

/// The key under which a reply holds an element, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends its processes, also if the test panics.
pub struct Browser {
    driver: Child,
    /// Reads what the driver prints, so that it never waits for that.
    reader: Option<JoinHandle<()>>,
    addr: SocketAddr,
    session: Option<String>,
    /// The directory of its files, whose name is in the command line of the browser; its other processes end with that one.
    profile: PathBuf,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = std::env::temp_dir().join(format!("formicary-top-browser-{}", std::process::id()));
        fs::create_dir_all(&profile).unwrap();
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.process_group(0).spawn().expect("chromedriver is in Debian's package chromium-driver");
        let output = BufReader::new(driver.stdout.take().unwrap());
        let (found, port) = channel();
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    let _ = found.send(port.trim_end_matches('.').parse::<u16>());
                }
            }
        });
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut browser = Browser { driver, reader: Some(reader), addr, session: None, profile };
        browser.addr.set_port(port.recv_timeout(LIMIT).expect("chromedriver does not start").unwrap());
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                format!("--user-data-dir={}", browser.profile.display()),
            ] },
            "timeouts": { "script": 10_000, "pageLoad": 20_000, "implicit": 0 },
        });
        let value = browser.request("POST", "/session", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        browser.session = Some(format!("/session/{}", value["sessionId"].as_str().unwrap()));
        browser
    }

    /// Sends a command of the session. Panics with the driver's message if it fails.
    fn command(&self, name: &str, parameters: &Value) -> Value {
        let path = format!("{}/{name}", self.session.as_deref().unwrap());
        self.request("POST", &path, parameters)
    }

    fn request(&self, method: &str, path: &str, parameters: &Value) -> Value {
        let reply = self.try_request(method, path, parameters).unwrap();
        assert!(reply["error"].is_null(), "{path}: {reply}");
        reply
    }

    fn try_request(&self, method: &str, path: &str, parameters: &Value) -> std::io::Result<Value> {
        let line = format!("{method} {path} HTTP/1.1");
        let head = [&line, &format!("Host: {}", self.addr), "Content-Type: application/json"];
        let reply = send(self.addr, &head, &parameters.to_string())?;
        Ok(serde_json::from_slice::<Value>(&reply.body)?["value"].take())
    }

    /// Gives the page this size, whatever the window's is.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets what the user prefers: `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// Clicks as a user does: the element must be visible, and nothing may cover it.
    pub fn click(&self, selector: &str) {
        let element = self.command("element", &json!({ "using": "css selector", "value": selector }));
        let id = element[ELEMENT].as_str().unwrap();
        self.command(&format!("element/{id}/click"), &json!({}));
    }

    /// The value of an expression in the page.
    pub fn value(&self, expression: &str) -> Value {
        self.command("execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// The text of an element, if there is one.
    pub fn text(&self, selector: &str) -> Option<String> {
        let value = self.value(&format!("document.querySelector({})?.textContent", json!(selector)));
        value.as_str().map(str::to_owned)
    }

    /// Waits until an element has this text.
    pub fn wait_for(&self, selector: &str, text: &str) {
        let mut last = None;
        let start = Instant::now();
        while last.as_deref() != Some(text) {
            assert!(start.elapsed() < LIMIT, "{selector} is {last:?} and not {text:?}");
            thread::sleep(Duration::from_millis(20));
            last = self.text(selector);
        }
    }

    /// What the page has written to its console, errors among it.
    pub fn console(&self) -> Vec<Value> {
        self.command("se/log", &json!({ "type": "browser" })).as_array().unwrap().clone()
    }

    /// The page as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let path = format!("{}/screenshot", self.session.as_deref().unwrap());
        STANDARD.decode(self.request("GET", &path, &json!({})).as_str().unwrap()).unwrap()
    }

    /// The processes that have the profile's name in their command line.
    fn processes(&self) -> Vec<String> {
        let profile = self.profile.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        processes
            .filter(|process| process.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|process| {
                let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(profile)
            })
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = self.try_request("DELETE", &session, &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Its processes end by themselves, if it still can end them.
        let end = Instant::now() + Duration::from_secs(2);
        while !self.processes().is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        let left = self.processes();
        if !left.is_empty() {
            let _ = Command::new("kill").arg("-KILL").args(&left).status();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let _ = fs::remove_dir_all(&self.profile);
    }
}
