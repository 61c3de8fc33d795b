std = "lua54"
max_line_length = 120
cache = false

files["spec"] = { std = "+busted" }
files["rockspec"] = { std = "rockspec", max_line_length = false }
exclude_files = { "build", "lua_modules" }
