-- The documents do what they say: every block of Lua in them is a program of its own that runs as a user would run it.
local glob = require "posix.glob"
local markdown = require "spec.support.markdown"
local script = require "spec.support.script"

-- Every command that the README tells the reader to type, and what runs it in the specs or with them.
local COMMANDS = {
  ["make demo"] = "spec/examples_spec.lua",
  ["make test"] = "Makefile",
  ["make install"] = "spec/install_spec.lua",
  ["make install PREFIX=/usr DESTDIR=/tmp/package"] = "spec/install_spec.lua",
  ["luarocks --lua-version=5.4 make rockspec/remoteobj-scm-1.rockspec"] = "spec/install_spec.lua",
}

local function exists(name)
  local file = io.open(name)
  return file ~= nil and file:close()
end

local DOCUMENTS = { "README.md", table.unpack(assert(glob.glob("docs/*.md", 0))) }
-- Documents of another kind, or whose programs need more than the library, and who runs them.
local NO_PROGRAMS = {
  ["docs/wire-format.md"] = "spec/codec_spec.lua",
  ["docs/event-loops.md"] = "spec/loops_spec.lua",
}

for _, document in ipairs(DOCUMENTS) do
  describe(document, function()
    for _, block in ipairs(NO_PROGRAMS[document] and {} or markdown.blocks(document, "lua")) do
      it(("line %d (%s) runs and prints what it says"):format(block.line, block.heading), function()
        local result = script.run(block.text)
        assert.equal("", result.stderr)
        assert.equal(assert(markdown.expected_output(block.text)), result.stdout)
        assert.equal(0, result.code)
      end)
    end
  end)
end

describe("the guide", function()
  it("shows the full example as it is", function()
    local file <close> = assert(io.open "examples/counter.lua")
    local example = file:read "a"
    local shown = false
    for _, block in ipairs(markdown.blocks("docs/guide.md", "lua")) do
      shown = shown or block.text == example
    end
    assert.is_true(shown)
  end)
end)

describe("README", function()
  it("has a first example", function()
    assert.is_true(#markdown.blocks("README.md", "lua") >= 1)
  end)

  it("tells only commands that are tried", function()
    local told = {}
    for _, block in ipairs(markdown.blocks("README.md", "sh")) do
      for _, command in ipairs(block.lines) do
        told[command] = true
        assert.is_not_nil(COMMANDS[command], command)
      end
    end
    for command, where in pairs(COMMANDS) do
      assert.is_true(told[command], command)
      assert.is_truthy(exists(where), where)
    end
  end)

  it("links to files that are there, and so do the documents", function()
    assert.is_true(#markdown.local_links "README.md" > 0)
    for _, file in ipairs(DOCUMENTS) do
      local folder = file:match "^.*/" or ""
      for _, link in ipairs(markdown.local_links(file)) do
        assert.is_truthy(exists(folder .. link), link)
      end
    end
  end)
end)
