// rustc client.rs && ./client edgepipe run ./bundle --serve-stdin < texts.txt
use std::io::{self, BufRead, BufReader, Write};
use std::process::{exit, Command, Stdio};

/// A text as a JSON string.
fn to_json(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}"),
            '\0'..='\x1f' => format!("\\u{:04x}", letter as u32),
            _ => letter.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn main() -> io::Result<()> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut model = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut requests = model.stdin.take().unwrap();
    let mut answers = BufReader::new(model.stdout.take().unwrap()).lines();
    answers.next().expect("it did not start")?; // {"ready": ...}
    for text in io::stdin().lock().lines() {
        writeln!(requests, "{}", to_json(&text?))?;
        println!("{}", answers.next().expect("it ended")?);
    }
    drop(requests); // no more: it ends
    exit(model.wait()?.code().unwrap_or(1));
}
