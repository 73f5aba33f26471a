//! What people say to one node holds on the others.

use reqwest::Url;

use super::*;
use crate::{Cluster, Matcher, Reader, Route, Routing, SharedPage, SilenceSpec, SilenceState};

/// What a node does when it is asked.
#[derive(Clone, Debug)]
enum Peer {
    /// Answers from its ledger.
    Well(Reader),
    Sick(Answer),
}

/// A node that may change, and the heads of the questions to it.
struct Other {
    url: WebhookUrl,
    peer: Arc<Mutex<Peer>>,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Other {
    async fn new(peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/", listener.local_addr().expect("is bound"));
        let (peer, (sender, heads)) = (Arc::new(Mutex::new(peer)), mpsc::unbounded_channel());
        let served = Arc::clone(&peer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, sender.clone(), Arc::clone(&served)));
            }
        });
        Self { url: WebhookUrl::parse(&url).expect("is valid"), peer, heads }
    }

    fn becomes(&self, peer: Peer) {
        *self.peer.lock().expect("no test panics here") = peer;
    }

    fn config(&self) -> DeliveryConfig {
        let this = WebhookUrl::parse("http://this.invalid").expect("is valid");
        let secret = Some(crate::Secret::new("Bearer t0ken"));
        let cluster = Cluster::new(&[this, self.url.clone()], 0, Duration::from_secs(1), secret).expect("is one");
        DeliveryConfig { cluster: Some(cluster), tenant: "acme".into(), ..quick() }
    }

    async fn head(&mut self) -> String {
        timeout(PATIENCE, self.heads.recv()).await.expect("a question comes in time").expect("the node lives")
    }
}

async fn answer(mut stream: TcpStream, sender: mpsc::UnboundedSender<String>, peer: Arc<Mutex<Peer>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !bytes.ends_with(b"\r\n\r\n") {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..count]);
    }
    let head = String::from_utf8(bytes).expect("heads are text");
    let path = head.split(' ').nth(1).expect("there is a path").to_owned();
    let _ = sender.send(head);
    let peer = peer.lock().expect("no test panics here").clone();
    let answer = match peer {
        Peer::Well(reader) => {
            let url = Url::parse(&format!("http://h{path}")).expect("is one");
            let of = |name: &str| url.query_pairs().find(|(n, _)| n == name).expect("is asked").1.into_owned();
            let page = reader.what_people_say(&of("instance"), of("after").parse().expect("is a number"));
            status(200, "", &serde_json::to_string(&page.expect("reads")).expect("serialises"))
        }
        Peer::Sick(answer) => answer,
    };
    match answer {
        Answer::Send(response) => {
            let _ = stream.write_all(response.as_bytes()).await;
        }
        Answer::Hang => std::future::pending().await,
    }
}

fn spec() -> SilenceSpec {
    let matchers = Matcher::parse_list("service=\"shop\"").expect("is one").iter().map(Matcher::to_json).collect();
    let starts_at = clock::now();
    let ends_at = starts_at.plus(Duration::from_hours(1));
    SilenceSpec { matchers, starts_at, ends_at, created_by: "ann".into(), comment: "drill".into() }
}

/// A ledger of another node.
fn ledger() -> (TempDir, Ledger) {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let ledger = open(directory.path());
    (directory, ledger)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}

#[tokio::test]
async fn what_is_said_to_one_node_is_soon_heard_by_the_other() {
    let (_directory, mut there) = ledger();
    let mut other = Other::new(Peer::Well(there.reader())).await;
    let mut service = Service::start(Vec::new(), &other.config());
    let head = other.head().await;
    assert!(head.starts_with("GET /api/v1/peers/said?instance=&after=0 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer t0ken\r\n") && head.contains("x-scope-orgid: acme\r\n"), "{head}");
    service.record(&[fired("e1")]);
    there.record(&[fired("e1")], &[]).expect("records");
    let id = there.operator().set_silence(None, spec()).expect("is one");
    assert!(there.operator().acknowledge("e1", "ann", "on it").expect("writes"));
    let reader = service.ledger.reader();
    until("both hold", || reader.silence(&id).is_some() && reader.acknowledgement("e1").expect("reads").is_some())
        .await;
    assert!(there.operator().expire_silence(&id).expect("writes"));
    assert!(there.operator().unacknowledge("e1").expect("writes"));
    until("neither does", || {
        reader.silence(&id).is_some_and(|silence| silence.state(clock::now()) == SilenceState::Expired)
            && reader.acknowledgement("e1").expect("reads").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_node_that_comes_back_hears_of_silences_before_it_tells_anything() {
    let (_directory, there) = ledger();
    there.operator().set_silence(None, spec()).expect("is one");
    for (peer, is_told) in [(Peer::Well(there.reader()), false), (Peer::Sick(Answer::Hang), true)] {
        let (other, mut sink) = (Other::new(peer).await, Sink::answering([]).await);
        let receivers = vec![receiver("ops", &sink.url)];
        let mut service = Service::start(Vec::new(), &DeliveryConfig::default());
        let wait = Duration::from_millis(1);
        let root = Route { group_wait: wait, ..Route::to(Some("ops".into())) };
        service.ledger.route(Routing::new(root, Vec::new(), Vec::new()), &receivers).expect("can be routed");
        service.receivers = receivers.clone();
        // Recorded, and due, before the node went away.
        service.record(&[fired("e1")]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(service.deliverer.shutdown(PATIENCE).await);
        service.deliverer = Deliverer::start(&service.ledger.outbox(), &receivers, &other.config()).expect("starts");
        let dispatcher = Arc::new(service.ledger.dispatcher(receivers.clone()));
        service.deliverer.dispatch(dispatcher);
        if is_told {
            assert_eq!(sink.request().await.status(), "firing");
        } else {
            until("the silence holds", || service.ledger.reader().silences().len() == 1).await;
            let shown = service.ledger.dispatcher(receivers).alerts().expect("reads");
            assert_eq!(shown[0].muted.silenced_by.len(), 1);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(sink.is_quiet());
        }
    }
}

#[tokio::test]
async fn a_node_that_answers_anything_else_is_asked_again() {
    let (_directory, there) = ledger();
    there.operator().set_silence(None, spec()).expect("is one");
    let mut other = Other::new(Peer::Sick(status(500, "", ""))).await;
    let service = Service::start(Vec::new(), &other.config());
    for sick in [
        status(200, "", "nonsense"),
        status(200, "", &"x".repeat(SharedPage::MOST_BYTES + 1)),
        status(302, "location: http://127.0.0.1:1/\r\n", ""),
        Answer::Hang,
    ] {
        other.head().await;
        other.becomes(Peer::Sick(sick));
    }
    other.head().await;
    other.becomes(Peer::Well(there.reader()));
    until("it is heard", || !service.ledger.reader().silences().is_empty()).await;
    assert!(service.deliverer.counters().failed_questions() >= 4);
}
