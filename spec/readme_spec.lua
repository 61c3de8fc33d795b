-- The README does what it says: every block of Lua is a program of its own that runs as a user would run it.
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

describe("README", function()
  local blocks = markdown.blocks("README.md", "lua")

  it("has blocks of Lua that say what they print", function()
    assert.is_true(#blocks >= 9)
    for _, block in ipairs(blocks) do
      assert.is_not_nil(markdown.expected_output(block.text), "the block in line " .. block.line)
    end
  end)

  for _, file in ipairs { "README.md", "docs/editor.md" } do
    for _, block in ipairs(markdown.blocks(file, "lua")) do
      it(("%s line %d (%s) runs and prints what it says"):format(file, block.line, block.heading), function()
        local result = script.run(block.text)
        assert.equal("", result.stderr)
        assert.equal(markdown.expected_output(block.text), result.stdout)
        assert.equal(0, result.code)
      end)
    end
  end

  it("shows the full example as it is", function()
    local file <close> = assert(io.open "examples/counter.lua")
    local example = file:read "a"
    local shown = false
    for _, block in ipairs(blocks) do
      shown = shown or block.text == example
    end
    assert.is_true(shown)
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
    local files = { "README.md" }
    for _, name in ipairs { "guarantees", "embedding", "performance", "editor" } do
      files[#files + 1] = ("docs/%s.md"):format(name)
    end
    for _, file in ipairs(files) do
      local folder = file:match "^.*/" or ""
      local links = markdown.local_links(file)
      assert.is_true(#links > 0)
      for _, link in ipairs(links) do
        assert.is_truthy(exists(folder .. link), link)
      end
    end
  end)
end)
