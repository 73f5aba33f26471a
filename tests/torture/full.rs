//! A disk that is really full: a small file system in memory.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    api::eventually,
    pause,
    service::{Outcome, Service, told},
    webhook::Webhook,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Within which requests are taken again when there is room.
const BACK: Duration = Duration::from_secs(10);

/// One alert when points stop coming through.
const RULES: &str = r"
groups:
  - name: full
    interval: 1s
    rules:
      - {alert: Stopped, expr: 'absent(count_over_time(torture_points[3s]))'}
";

/// A file system that ends with the test.
struct Small(PathBuf);

impl Small {
    /// 64 MiB at `path`; `None`, which is said, where mounting is not allowed, and a failure where nothing may be
    /// skipped.
    #[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).expect("a temporary directory is writable");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(path).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        assert!(is_mounted || std::env::var("CI").is_err(), "a tmpfs must be mounted, which takes root");
        if !is_mounted {
            eprintln!("skipped: a tmpfs must be mounted, which takes root");
        }
        is_mounted.then(|| Self(path.to_owned()))
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file can be begun");
        while file.write_all(&[1; 4_096]).is_ok() {}
    }

    /// Gives it back.
    fn empty(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, since the service may still be there when the test has failed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

// C5
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_refuses_while_alerts_go_on_and_takes_again_when_there_is_room() {
    let webhook = Webhook::listen().await;
    let mut service = Service::judging(&format!(
        "rule_files: [rules.yaml]\ncheckpoint_every: 1s\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{}'}}]}}]",
        webhook.url()
    ));
    fs::write(service.directory().join("rules.yaml"), RULES).expect("the directory is writable");
    let Some(disk) = Small::mount(&service.directory().join("data")) else { return };
    service.start();
    for turn in 0..2 {
        service.load(pause(3_000)).await;
        let (acknowledged, refused) = (service.count(Outcome::Acknowledged), service.count(Outcome::Refused));
        assert!(acknowledged > 10, "turn {turn}: there is room: {}", service.log_text());
        let count = |wanted: &str| told(&webhook).iter().filter(|(_, state)| state == wanted).count();
        let (fired, resolved) = (count("firing"), count("resolved"));
        assert_eq!(fired, resolved, "turn {turn}: nothing fires: {}", service.log_text());
        disk.fill();
        // Each refusal names a time to come again.
        let says_so = || async { (count("firing") > fired).then_some(()) };
        service.load(async { assert!(eventually(PATIENCE, says_so).await.is_some(), "{}", service.log_text()) }).await;
        assert!(service.count(Outcome::Refused) > refused, "turn {turn}: it is full: {}", service.log_text());
        disk.empty();
        let acknowledged = service.count(Outcome::Acknowledged);
        let takes_again = || async { (service.count(Outcome::Acknowledged) > acknowledged).then_some(()) };
        service.load(async { assert!(eventually(BACK, takes_again).await.is_some(), "{}", service.log_text()) }).await;
        let is_over = || async { (count("resolved") > resolved).then_some(()) };
        service.load(async { assert!(eventually(PATIENCE, is_over).await.is_some(), "{}", service.log_text()) }).await;
    }
    service.settle("a full disk").await;
    service.binary.take().expect("it was started").kill();
    service.start();
    service.settle("a full disk, then a kill").await;
    let log = service.log_text();
    assert!(!log.contains("cannot be used") && !log.contains("is lost"), "{log}");
}
