//! Links as Markdown, for chats that show them.

/// `[label](<url>)`: any CommonMark parser reads back one link with exactly this text and target.
///
/// `url` is one of ours: it holds neither `<`, `>` nor line breaks. Line breaks in the label become
/// character references, so that no block structure can begin inside it.
pub fn link(label: &str, url: &str) -> String {
    let mut text = String::with_capacity(label.len() + url.len() + 8);
    text.push('[');
    let mut before = None;
    let mut rest = label.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            '\\' | '[' | ']' | '`' | '*' | '<' | '&' | '~' => text.extend(['\\', char]),
            '_' if !is_within_word(before, rest.peek()) => text.push_str("\\_"),
            _ => text.push(char),
        }
        before = Some(char);
    }
    text.push_str("](<");
    text.push_str(url);
    text.push_str(">)");
    text
}

/// An underscore between two letters or digits never opens or closes emphasis (CommonMark 0.31, 6.2).
fn is_within_word(before: Option<char>, after: Option<&char>) -> bool {
    before.is_some_and(char::is_alphanumeric) && after.is_some_and(|char| char.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;

    const URL: &str = "http://localhost:9000/v1/files/download?file_id=f&expires=1&signature=a";

    /// The links a parser finds, each with its text and target.
    fn read_back(markdown: &str) -> (String, Vec<String>) {
        let (mut text, mut targets) = (String::new(), Vec::new());
        for event in Parser::new_ext(markdown, Options::ENABLE_STRIKETHROUGH) {
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => targets.push(dest_url.to_string()),
                Event::Text(part) => text.push_str(&part),
                Event::Start(Tag::Paragraph) | Event::End(_) => {}
                other => text.push_str(&format!("{other:?}")),
            }
        }
        (text, targets)
    }

    #[test]
    fn plain_names_stay_readable() {
        assert_eq!(link("my_plot_1.png", "u"), "[my_plot_1.png](<u>)");
        assert_eq!(link("a]b\\[c", "u"), "[a\\]b\\\\\\[c](<u>)");
    }

    #[test]
    fn markdown_in_a_label_is_only_text() {
        for label in [
            "](<http://evil>) [",
            "**bold** _it_ `code` ~~gone~~",
            "<script>alert(1)</script>",
            "<http://evil>",
            "![x](y)",
            "&lt;&#91;",
            "one\n\n# two\r\n- three",
            "`]`",
            "\\",
        ] {
            let expected = (label.to_owned(), vec![URL.to_owned()]);
            assert_eq!(read_back(&link(label, URL)), expected, "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn any_label_reads_back_as_one_link(label in "[ -~\u{e9}\n\r]{0,24}[!-~]") {
            prop_assert_eq!(read_back(&link(&label, URL)), (label, vec![URL.to_owned()]));
        }
    }
}
