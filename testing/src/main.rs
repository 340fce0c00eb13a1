//! The proxy and the certificates as a program, for tests that are not in Rust. It ends when its standard input does, so that a test that
//! is killed leaves none behind.

#[cfg(unix)]
mod script;

#[cfg(unix)]
const USAGE: &str = "\
quickcache-testing proxy HOST:PORT       a proxy to that address: prints its port, then does what each line of its input says and
                                         answers each with a line, `ok ..` or `error ..`
quickcache-testing certificates FOLDER   writes ca.pem, server.pem and key.pem, for a server on 127.0.0.1

  pass                                   every byte as it comes
  delay DIRECTION MILLISECONDS
  blackhole DIRECTION
  drip DIRECTION BYTES MILLISECONDS      so many bytes per tick
  corrupt DIRECTION every N              one bit of each n-th byte
  corrupt DIRECTION random SEED ONE_IN   one bit of one byte in so many
  cut DIRECTION BYTES                    closed after so many bytes
  reset | drop | half-close DIRECTION    done now
  only TEXT ..                           any of these, for connections that have sent this text
  door open | reset | closed | greet TEXT
  aim HOST:PORT                          another server for new connections
  answer [times=N] [executed] [close] COMMAND TEXT
  answer-no-more
  heal                                   pass, door open, answer-no-more
  counts

DIRECTION is to-server, to-client or both. COMMAND and TEXT know \\r, \\n, \\\\ and \\xHH; a space inside a word is \\x20, COMMAND * is any.
";

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["proxy", target] => script::run(target),
        ["certificates", folder] => {
            certificates(folder.as_ref()).map_err(|error| error.to_string())
        }
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            std::process::ExitCode::from(2)
        }
    }
}

#[cfg(unix)]
fn certificates(folder: &std::path::Path) -> std::io::Result<()> {
    let made = quickcache_testing::Certificates::new();
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("ca.pem"), made.authority())?;
    std::fs::write(folder.join("server.pem"), made.certificate())?;
    std::fs::write(folder.join("key.pem"), made.key())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("quickcache-testing needs a Unix");
}
