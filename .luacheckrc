std = "lua54"
max_line_length = 120
cache = false

files["spec"] = { std = "+busted" }
files["rockspec"] = { std = "rockspec", max_line_length = false }
exclude_files = { "build", "lua_modules" }
-- What C calls in these, and what it gives them.
files["examples/host/lua"] = { globals = { "proxy", "start", "look_after", "finish", "feed" }, ignore = { "212/self" } }
files["examples/host/scripts"] = { globals = { "instrument" } }
