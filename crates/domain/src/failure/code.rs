//! The codes of failures, and what each one means: the one table that the docs, the pages and the tests are made of.

use serde::{Deserialize, Serialize};

/// What a code means, what to do, and what that looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// A few words.
    pub title: &'static str,
    /// What happened, and why that is a failure.
    pub cause: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Commands or lines of a file.
    pub example: &'static str,
}

macro_rules! codes {
    ($($code:ident $title:literal $cause:literal $fix:literal $example:literal;)*) => {
        /// The classified causes; the number is stable and has a page in the docs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum FailureCode {$(
            #[doc = $title]
            $code,
        )*}

        impl FailureCode {
            /// Every code, for the docs and the tests.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// Returns the code as people see it.
            pub fn word(self) -> &'static str {
                match self {$(Self::$code => stringify!($code),)*}
            }

            /// Returns what its page says.
            pub fn explained(self) -> Explained {
                match self {$(
                    Self::$code => Explained { title: $title, cause: $cause, fix: $fix, example: $example },
                )*}
            }
        }
    };
}

codes! {
    P101 "no start command was found"
        "No language could be recognised, or one was but nothing says how to start the app: no `start` script, no `main`, no known framework."
        "Say it: `command` of `[processes.web]` in panda.toml, a Procfile, or a Dockerfile. `panda build` shows what is detected, without building."
        "[processes.web]\ncommand = \"node dist/server.js\"";
    P102 "several languages, lock files or entry points fit"
        "The directory has more than one candidate, and a guess could start the wrong one."
        "Remove the one that isn't used (two lock files), or say which one is meant in panda.toml."
        "[build]\nroot = \"backend\"\n\n[processes.web]\ncommand = \"python worker/main.py\"";
    P103 "the lock file is missing or out of date"
        "The installer works from the lock file alone, so that every build installs the same. The project file asks for something that the lock file doesn't have."
        "Run your package manager's install, commit the lock file, deploy again."
        "npm install\ngit add package-lock.json\npanda deploy";
    P104 "a private dependency or image wants credentials"
        "A registry or a git host answered 401 or 403 while the build fetched something."
        "Store the token as a secret and list it under `build.secrets`: only the build sees it, and it stays out of the image. For a private base image ask the operator."
        "panda env set --secret --no-deploy NPM_TOKEN\n\n[build]\nsecrets = [\"NPM_TOKEN\"]";
    P105 "a version isn't to be had"
        "A version of the language, of a package or of a base image doesn't exist, or isn't offered."
        "Correct the version in the project file and update the lock file. For a language version that isn't offered write a Dockerfile."
        "\"engines\": { \"node\": \"22\" }";
    P106 "the build ran out of memory"
        "A build step was killed: builds have a limit of their own, so that they can't hurt running apps."
        "Let the step use less (fewer parallel jobs, a smaller heap), or ask the operator for a larger builder."
        "[build]\nargs = { NODE_OPTIONS = \"--max-old-space-size=1024\" }";
    P107 "the build ran out of time"
        "The build took longer than its limit (30 minutes unless panda.toml says otherwise)."
        "Look at the slowest step, move downloads into cached steps, or raise the limit."
        "panda logs --build\n\n[build]\ntimeout = \"45m\"";
    P108 "a module is missing at run time"
        "The app imports a module that the image doesn't have: often one that stands among the development dependencies only."
        "Move it to the ordinary dependencies, update the lock file, deploy again."
        "npm install --save-prod express";
    P109 "a build step failed"
        "A command of the build ended with an error, or the Dockerfile asks for something that can't be."
        "Read the last lines above the error; run the same command locally."
        "panda logs --build";
    P110 "a disk is full"
        "The builder's or the server's disk has no space left. Running apps are not touched."
        "Ask the operator to free it, then deploy again."
        "panda-server doctor";
    P111 "the builder, a registry or the network can't be reached"
        "Something that the build needs didn't answer. Your source is fine."
        "Deploy again; if it stays, the operator looks at builder and registry."
        "panda deploy\npanda-server doctor";
    P112 "the source can't be used"
        "A path leads outside of the directory, a name is impossible, a file of the project can't be read, or it is all too large."
        "Correct the file that is named, or leave it out with .pandaignore or .dockerignore."
        "echo \"dumps/\" >> .pandaignore\npanda deploy";
    P201 "a variable isn't set"
        "The build or panda.toml asks for a variable or secret that the app doesn't have."
        "Set it, then deploy again."
        "panda env set --secret SESSION_KEY\npanda deploy";
    P202 "the app listens on localhost only"
        "The server accepts connections from inside its own container alone, so no request reaches it."
        "Listen on 0.0.0.0: the variable HOST says so."
        "server.listen(process.env.PORT, process.env.HOST)";
    P203 "the app listens on another port"
        "Something listens, but not on the port that requests are sent to."
        "Listen on the port in the variable PORT, or say the port."
        "panda deploy --port 3000\n\n[processes.web]\nport = 3000";
    P204 "nothing listens"
        "The process runs, but no port was opened within the startup time."
        "Start a server on the port in the variable PORT. A process that serves nothing belongs under a name of its own, such as `worker`. A slow start gets more time."
        "panda logs\n\n[processes.web.health]\nstartup = \"5m\"";
    P205 "the health check fails"
        "The port is open, but the health path answers with an error, with a redirect, or too late."
        "Make the path answer with 200 to 399 and without a login, or name another one."
        "[processes.web.health]\npath = \"/healthz\"";
    P206 "the app ran out of memory"
        "An instance was killed because it used more memory than its limit."
        "Give it more, or let it use less."
        "panda scale web --memory 1Gi";
    P207 "the image can't be had"
        "The name, tag or digest isn't in the registry, the registry wants credentials or can't be reached, or there is no image for this machine's architecture."
        "Check the name: `docker pull` with the same name should work on the server. For a private registry ask the operator for its credentials."
        "panda deploy --image nginx:1.29 --port 80";
    P208 "the app exits by itself"
        "The process ended although it should run on. Exit code 127: its command isn't in the image; 126: it can't be executed; 137: it was killed."
        "Read its last lines; correct the command or the error."
        "panda logs\npanda exec -- ls /app";
    P209 "the release failed after it went live"
        "Within five minutes of going live the new instances crashed or stopped being ready. The release before serves again."
        "Read the lines of the failed release, mend it, deploy again."
        "panda logs --since 15m\npanda releases";
    P301 "the release command failed"
        "The command under `deploy.release` ended with an error or not in time. The new release took no traffic; the one before serves on."
        "Read its output, mend it, deploy again. Give a long migration more time."
        "[deploy]\nrelease = \"npm run migrate\"\nrelease_timeout = \"20m\"";
    P302 "something that the app needs can't be reached"
        "The app couldn't reach a database or another service: wrong address, too many connections, wrong TLS."
        "Check the address in the app's variables from inside an instance."
        "panda env list --reveal\npanda run -- sh -c 'nc -zv \"$DB_HOST\" 5432'";
    P303 "variables and secrets can't be decrypted"
        "They were stored under another key than the server has now. Nothing is guessed: it stops here."
        "The operator gives the server the key file that it had."
        "panda-server doctor";
    P401 "a DNS record is wrong"
        "The domain's records don't say what they should, or a proxy in front hides them."
        "Set the records as they are shown, wait until DNS tells them, look again."
        "panda domains verify www.example.com";
    P402 "a certificate can't be issued"
        "The certificate authority refused: a rate limit, or its question on port 80 doesn't reach this server."
        "Let port 80 reach the server. A rate limit passes by itself: Panda asks again."
        "panda domains verify www.example.com\ncurl -I http://www.example.com/";
    P501 "the platform's own deadline passed"
        "A phase didn't end in its time: waiting for the builder 30 minutes, building 30, the release command 10, the rollout 5."
        "Look at what holds it up, then deploy again."
        "panda doctor\npanda deploy";
    P502 "the runtime refused the app"
        "What runs the containers doesn't take the app as it is: a mount, a limit, a user that isn't in the image."
        "Correct what the message names."
        "panda manifest\npanda doctor";
    P503 "the ingress didn't confirm the new routes"
        "The new instances were ready, but what takes the requests never confirmed that it sends them there. What served before is wished for again."
        "Ask the operator to look at the edge, then deploy again."
        "panda-server doctor\npanda deploy";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_happened_and_what_to_do_and_travels_as_its_word() {
        for code in FailureCode::ALL {
            let Explained { title, cause, fix, example } = code.explained();
            assert!([title, cause, fix, example].iter().all(|text| !text.is_empty()), "{code:?}");
            assert!(cause.ends_with('.') && fix.ends_with('.'), "{code:?}");
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
        }
    }
}
