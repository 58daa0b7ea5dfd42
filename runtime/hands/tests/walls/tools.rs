//! Tools that people use run behind every wall at once.

use crate::common::{Rig, run, said, text};

fn works(line: &str, expected: &str) {
    let Some(rig) = Rig::isolated() else { return };
    let (record, output) = run(&rig.shell(line));
    let told = text(&output.stdout.head);
    assert!(
        told.contains(expected),
        "{record:?}\n{told}\n{}",
        String::from_utf8_lossy(&output.stderr.head)
    );
}

#[test]
fn shells_pipes_and_archives_work() {
    works(
        "mkdir -p a/b && echo hi > a/b/c && ln a/b/c a/d && ln -s b/c a/e && tar -cf x.tar a && rm -r a && tar -xf x.tar && cat a/e | sort | uniq -c",
        "1 hi",
    );
}

#[test]
#[ignore = "needs git"]
fn git_works() {
    works(
        "git init -q r && cd r && git config user.name a && git config user.email a@b && echo 1 > f && git add . && \
         git commit -qm one && git clone -q . ../copy && cd ../copy && git log --oneline | wc -l",
        "1",
    );
}

#[test]
#[ignore = "needs gcc"]
fn a_compiler_and_make_work() {
    works(
        "printf '#include <stdio.h>\\n#include <pthread.h>\\nstatic void *f(void *x){return x;}\\nint main(void){pthread_t t;pthread_create(&t,0,f,0);pthread_join(t,0);puts(\"built\");}\\n' > a.c && \
         printf 'a: a.c\\n\\tgcc -O1 -o a a.c -pthread\\n' > Makefile && make -s && ./a",
        "built",
    );
}

#[test]
#[ignore = "needs python3"]
fn python_with_processes_and_a_server_on_loopback_works() {
    works(
        "cat > t.py <<'E'\nimport multiprocessing, http.server, threading, urllib.request, subprocess, ssl, socket\n\
         def f(x): return x*x\n\
         if __name__ == '__main__':\n    \
         print(sum(multiprocessing.Pool(2).map(f, range(4))))\n    \
         s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n    \
         threading.Thread(target=s.serve_forever, daemon=True).start()\n    \
         print(urllib.request.urlopen('http://localhost:%d/' % s.server_port).status)\n    \
         print(subprocess.run(['echo', 'ok'], capture_output=True).stdout.decode())\nE\npython3 t.py",
        "14\n200\nok",
    );
}

#[test]
#[ignore = "needs node"]
fn node_works() {
    works(
        "node -e 'const c=require(\"child_process\");console.log(c.execSync(\"echo from node\").toString())'",
        "from node",
    );
}

/// A bare machine has a shell, and it tells what it has.
#[test]
fn a_bare_machine_is_enough() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell(
        "id -un; id -u; ls -d /workspace /home/agent /tmp /usr /proc /dev; date > /dev/null && echo dated",
    ));
    assert!(
        told.starts_with("agent\n1000\n") && told.ends_with("dated\n"),
        "{told}"
    );
}
