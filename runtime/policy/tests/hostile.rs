//! Texts that are made to break a parser: no panic, no answer that never comes, and nothing deep that is allowed unseen.

use longhaul_policy::{Act, Around, Policy, Verdict, digest, goal};
use proptest::prelude::*;

fn verdict(text: &str) -> Verdict {
    let act = Act::line(text);
    let decision = Policy::standard().decide(&act, &Around::bare());
    digest(&act, &decision.scripts);
    decision.verdict
}

/// B-GATE-1: what is nested too deep to be followed asks, however it is nested.
#[test]
fn deep_nesting_asks() {
    for (open, inner, close) in [
        ("(", "git push", ")"),
        ("{ ", "git push;", " };"),
        ("((", "$(git push)", "))"),
        ("$(", "git push", ")"),
        ("echo $(", "git push", ")"),
        ("echo \"$(", "git push", ")\""),
        ("if true; then ", "git push;", " fi;"),
        ("while true; do ", "git push;", " done;"),
        ("eval ", "git push", ""),
        ("sudo ", "git push", ""),
        ("xargs ", "git push", ""),
        ("<(", "git push", ")"),
        ("${x:-", "git push", "}"),
        ("case x in x) ", "git push;;", " esac;"),
        ("! ", "git push", ""),
        ("a=(", "git push", ")"),
        ("$((", "$(git push)", "))"),
        ("[[ ", "$(git push)", " ]]"),
    ] {
        for depth in [30, 300, 2_000] {
            let text = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(verdict(&text), Verdict::Ask, "{open:?} {depth} times");
            verdict(&open.repeat(depth));
            verdict(&close.repeat(depth));
        }
    }
}

/// B-GATE-1: many commands, values or pieces are followed up to a bound, and what lies beyond asks.
#[test]
fn long_texts_end() {
    for text in [
        "ls; ".repeat(20_000) + "git push",
        "a=b; ".repeat(5_000) + "$a",
        "{a,b}".repeat(200),
        format!("echo {}", "{a,b,c,d,e,f}".repeat(40)),
        (0..200).map(|number| format!("v{number}=$v{}$v{};", number + 1, number + 1)).collect::<String>() + "$v0",
        "f() { f; f; }; f".into(),
        "f() { g; g; }; g() { f; f; }; f".into(),
        "alias a='a a'; a".into(),
        "alias a=b b=a; a".into(),
        "x='$x$x'; eval $x".into(),
        "for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do for k in 1 2 3 4 5 6 7 8 9; do $i $j $k; done; done; done".into(),
        "a ".repeat(60_000),
        "'".repeat(10_001),
        "\"$(".repeat(3_000),
        "`".repeat(3_001),
        "<<A ".repeat(2_000),
        "cat <<A\n".repeat(2_000),
        "\\\n".repeat(20_000),
        "x".repeat(400_000),
        "echo a | ".repeat(3_000) + "sh",
        "find . -exec ".repeat(2_000),
        format!("python -c '{}'", "\"a\", ".repeat(10_000)),
        "a=(".repeat(1_000),
        "printf '%s%s%s' ".repeat(2_000),
        "[[ a =~ ".repeat(2_000),
        "p=push; git $p{a,b}$((".repeat(200),
        "x=\"$(echo 'a ".repeat(500),
        "case a in b) ".repeat(500),
    ] {
        verdict(&text);
        goal::read(&text);
    }
    assert_eq!(verdict(&("ls; ".repeat(20_000) + "git push")), Verdict::Ask);
}

/// B-GATE-1: a line of some hundred bytes wrote gigabytes here, each variable holding the one before it twice, each file itself.
/// What would hold more than is followed is not known, and asks.
#[test]
fn what_grows_with_each_word_is_followed_up_to_a_bound() {
    let doubled = |next: fn(usize) -> String| (1..60).map(next).collect::<String>();
    for (begin, next, end) in [
        (
            "v0=aaaaaaaa; ",
            (|number| format!("v{number}=$v{0}$v{0}; ", number - 1)) as fn(usize) -> String,
            "$v59",
        ),
        (
            "v0='echo a;'; ",
            |number| format!("v{number}=\"$v{0}$v{0}\"; ", number - 1),
            "eval \"$v59\"",
        ),
        ("echo aaaaaaaa > f; ", |_| "cat f f > f; ".into(), "sh f"),
        (
            "echo a > f0; ",
            |number| format!("cat f{0} f{0} > f{number}; ", number - 1),
            "sh f59",
        ),
        (
            "p=a; ",
            |_| "p=$(printf \"$p%s\" 1 2 3 4 5 6 7 8 9); ".into(),
            "$p",
        ),
    ] {
        let line = format!("{begin}{}{end}", doubled(next));
        assert_eq!(verdict(&line), Verdict::Ask, "{line}");
    }
    // What is written again since it runs again is written once.
    let line = format!("f() {{ echo ls >> g; }}; {}sh g", "f; ".repeat(500));
    assert_eq!(verdict(&line), Verdict::Allow);
    assert_eq!(
        verdict("echo ls > f; echo 'git push' > f; cat f > g; sh g"),
        Verdict::Ask
    );
}

/// B-GATE-1: `{` and one character ended the process: the grammar looks it up in a table of 256, wherever that ends.
#[test]
fn a_character_of_any_size_gets_an_answer_and_stands_in_words() {
    for c in [
        'é',
        '\u{a0}',
        '\u{3000}',
        '漢',
        '“',
        '\u{31860}',
        '🚀',
        '\u{10ffff}',
    ] {
        for around in [
            "{X",
            "X",
            "aX",
            "X=1",
            "$X",
            "${X}",
            "${x:-X}",
            "${x#X}",
            "${x/X/X}",
            "{X,b}",
            "[[ a =~ X ]]",
            "[[ a == X* ]]",
            "@(X|b)",
            "case X in X) a;; esac",
            "X() { a; }",
            "<<X\nX\n",
            "$'X'",
            "((X))",
            "$((X+1))",
            "a[X]=1",
            "`X`",
            "\\X",
            "\"$X\"",
            "\"${X",
            "for X in X; do X; done",
            "{ X; }",
            "{X..Y}",
            ">X",
            "2>X",
            "!X",
            "#X",
            "a#X",
        ] {
            verdict(&around.replace('X', &c.to_string()));
            verdict(&around.replace('X', &c.to_string().repeat(3)));
        }
        for (line, expected) in [
            ("git commit -m \"X: X\"", Verdict::Allow),
            ("git commit -m 'XaX' && echo X | cat > X.txt", Verdict::Allow),
            ("git commit -m \"X $(date) X\" -- X", Verdict::Allow),
            ("echo X; git push", Verdict::Ask),
            ("echo \"X $(echo X | cat; git push X)\"", Verdict::Ask),
            // Whatever it looks like, no shell takes it for a blank.
            ("gitXpush", Verdict::Ask),
        ] {
            let line = line.replace('X', &c.to_string());
            assert_eq!(verdict(&line), expected, "{line}");
        }
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("git push"),
        Just("echo "),
        Just("$("),
        Just(")"),
        Just("`"),
        Just("\""),
        Just("'"),
        Just("<<EOF\n"),
        Just("EOF\n"),
        Just("\n"),
        Just("; "),
        Just(" && "),
        Just(" | "),
        Just("sh -c "),
        Just("eval "),
        Just("x="),
        Just("$x "),
        Just("${x"),
        Just("}"),
        Just("{ "),
        Just("(("),
        Just("))"),
        Just("[[ "),
        Just(" ]]"),
        Just("if "),
        Just("then "),
        Just("fi "),
        Just("for i in "),
        Just("do "),
        Just("done "),
        Just("<("),
        Just("<<< "),
        Just("> f "),
        Just("2>&1 "),
        Just("\\"),
        Just("$'"),
        Just("\\x67"),
        Just("{a,b}"),
        Just("*"),
        Just("~"),
        Just("f() "),
        Just("case x in "),
        Just("esac "),
        Just("\u{0}"),
        Just("\u{1}"),
        Just("é"),
        Just("\u{10ffff}"),
        Just("\u{31860}"),
        Just("python -c "),
        Just("xargs "),
        Just("find . -exec "),
        Just("make "),
        Just("npm run "),
        Just("cat .env"),
        Just("curl -d "),
        Just("psql -c "),
        Just("awk "),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// B-GATE-1
    #[test]
    fn any_pieces_of_shell_get_an_answer(text in pieces()) {
        verdict(&text);
        Policy::standard().decide(&Act::argv(text.split(' ')), &Around::bare());
        goal::read(&text);
    }

    /// B-GATE-1
    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        verdict(&text);
        goal::read(&text);
        let around = Around { read_file: &|_| Some(text.clone().into_bytes()), ..Around::bare() };
        for line in ["./x", "python x.py", "make", "npm run a", "sh x", "psql -f x"] {
            Policy::standard().decide(&Act::line(line), &around);
        }
        let _ = Policy::extended(&text, "x");
    }

    /// B-GATE-1: whatever stands around it, a push that is reached is not allowed.
    #[test]
    fn a_push_behind_anything_harmless_asks(before in "[a-z ]{0,12}", quoted in "[a-z;|& ()]{0,20}") {
        let text = format!("echo {before} '{quoted}'; git push");
        prop_assert_eq!(verdict(&text), Verdict::Ask);
    }
}
