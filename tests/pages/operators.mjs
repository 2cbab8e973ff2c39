// All tests of the pages for operators, in one process with one browser: see tests/pages.sh.

import "./end.mjs";
import "./console_overview.mjs";
import "./console_accounts.mjs";
import "./console_tools.mjs";
import "./console_audit.mjs";
