// All tests of the pages for users, in one process with one browser: see tests/pages.sh.

import "./end.mjs";
import "./sign_in.mjs";
import "./keys.mjs";
import "./kinds.mjs";
import "./connect.mjs";
import "./trouble.mjs";
import "./hostile.mjs";
import "./access.mjs";
