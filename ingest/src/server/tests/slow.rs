//! Those who take their time. The clock is tokio's and goes on by itself while nobody has anything to do.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::*;

/// Sends `bytes` and, if there is one, a byte of `drip` each second; the time until the connection is closed.
async fn closed_after(address: SocketAddr, bytes: &[u8], drip: Option<u8>) -> Duration {
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    stream.write_all(bytes).await.expect("is taken");
    let began = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        while writer.write_all(drip.as_slice()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = reader.read_to_end(&mut answer).await;
    dripping.abort();
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn slow_senders_are_let_go_within_a_minute() {
    let service = Service::start().await;
    let head = b"POST /v1/logs HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\n";
    let body = [head, &b"content-length: 60000\r\n\r\n"[..]].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [preface, &[0, 0, 0, 4, 0, 0, 0, 0, 0][..]].concat();
    // A frame of headers that announces 1000 bytes.
    let headers = [&settings[..], &[0, 3, 232, 1, 4, 0, 0, 0, 1]].concat();
    let cases: [(&str, SocketAddr, &[u8], Option<u8>); 6] = [
        ("nothing over HTTP", service.http, b"", None),
        ("a slow head", service.http, head, Some(b'x')),
        ("a slow body", service.http, &body, Some(0)),
        ("half a preface", service.grpc, b"PRI", None),
        ("no request", service.grpc, &settings, None),
        ("slow headers", service.grpc, &headers, Some(0x40)),
    ];
    for (what, address, bytes, drip) in cases {
        let lasted = closed_after(address, bytes, drip).await;
        let seconds = lasted.as_secs();
        assert!((20..=60).contains(&seconds), "{what}: {lasted:?}");
    }
}

/// Reads what comes, answers the pings in it, and says whether it is the end.
async fn listen(stream: &mut TcpStream, said: &mut Vec<u8>) -> bool {
    said.clear();
    let read = stream.read_buf(said).await;
    for ping in said.windows(17).filter(|bytes| bytes.starts_with(&[0, 0, 8, 6, 0])) {
        let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &ping[9..]].concat();
        let _ = stream.write_all(&answer).await;
    }
    !read.is_ok_and(|read| read > 0)
}

#[tokio::test(start_paused = true)]
async fn who_pings_is_let_go_only_after_the_last_ping() {
    let service = Service::start().await;
    let settings = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"are here"].concat();
    for address in [service.grpc, service.http] {
        let mut stream = TcpStream::connect(address).await.expect("the door is open");
        stream.write_all(&settings).await.expect("is taken");
        let mut said = Vec::new();
        for _ in 0..60 {
            let next = Instant::now() + Duration::from_secs(10);
            stream.write_all(&ping).await.expect("is taken");
            while let Ok(is_over) = tokio::time::timeout_at(next, listen(&mut stream, &mut said)).await {
                assert!(!is_over, "is closed");
            }
        }
        let last = Instant::now();
        while !listen(&mut stream, &mut said).await {}
        let idle = ConnectionLimits::default().idle;
        assert!((idle - Duration::from_secs(20)..idle).contains(&last.elapsed()), "{:?}", last.elapsed());
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_for_a_place() {
    let limits = ConnectionLimits { max: 1, ..ConnectionLimits::default() };
    let service = Service::start_as(&Config { connections: limits, ..fake::config() }).await;
    let first = TcpStream::connect(service.http).await.expect("the door is open");
    let request = Request::get("/").body(Vec::new()).expect("is a request");
    let mut second = tokio::spawn(fake::http(service.http, request));
    let many_turns = async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = &mut second => unreachable!("the one place is taken, but {answer:?} came"),
        () = many_turns => {}
    }
    drop(first);
    assert_eq!(second.await.expect("no panic").status.as_u16(), 404);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_but_not_a_busy_one() {
    let limits = ConnectionLimits { idle: Duration::from_secs(20), ..ConnectionLimits::default() };
    let (queue, mut submissions) = Queue::new(1 << 20, fake::nothing_known());
    let config = Config { connections: limits, ..fake::config() };
    let service = Service::start_in_front_of(&config, queue).await;
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        fake::logs(1, 0).len()
    );
    let mut stream = TcpStream::connect(service.http).await.expect("the door is open");
    stream.write_all(&[head.as_bytes(), &fake::logs(1, 0)].concat()).await.expect("is taken");
    let submission = submissions.recv().await.expect("comes through");
    tokio::time::sleep(Duration::from_secs(200)).await;
    submission.reply.send(Ok(crate::Rejections::default())).expect("is still waited for");
    let answered = Instant::now();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("is closed in order");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    assert!(answered.elapsed() <= Duration::from_secs(30), "{:?}", answered.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_asked_to_end() {
    let limits = ConnectionLimits { age: Duration::from_secs(20), ..ConnectionLimits::default() };
    let service = Service::start_as(&Config { connections: limits, ..fake::config() }).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [preface, &[0, 0, 0, 4, 0, 0, 0, 0, 0][..]].concat();
    let lasted = closed_after(service.grpc, &settings, None).await;
    assert!((18..=27).contains(&lasted.as_secs()), "{lasted:?}");
}
