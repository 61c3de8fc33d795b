-- Errors of other processes, as they are raised here.
local remoteobj = require "remoteobj"

local process = remoteobj.process

--- The error that func(...) raises in another process, as join raises it, and the handle.
local function remote_error(func, ...)
  local p = process(func, ...):start()
  local ok, err = pcall(p.join, p)
  assert.is_false(ok)
  return err, p
end

local Problem = { __name = "spec.Problem" }
Problem.__index = Problem
Problem.__tostring = function(self) return "problem " .. self.code end
remoteobj.register(Problem)

describe("an error that is a table", function()
  it("arrives as a copy with its metatable", function()
    local err = remote_error(function() error(setmetatable({ code = 7, list = { 1, 2 } }, Problem)) end)
    assert.are.equal(Problem, getmetatable(err))
    assert.are.equal(7, err.code)
    assert.are.same({ 1, 2 }, err.list)
    assert.are.equal("problem 7", tostring(err))
    assert.matches("^stack traceback:\n.*failure_spec", remoteobj.traceback(err))
  end)

  it("that can't be sent arrives as a RemoteError", function()
    local err, p = remote_error(function() error(setmetatable({ code = 8, file = io.stdout }, Problem)) end)
    assert.are.equal(remoteobj.RemoteError, getmetatable(err))
    assert.is_nil(err.value)
    assert.are.equal("problem 8", err.message)
    assert.are.equal(p.pid, err.pid)
  end)

  it("of an unknown class arrives as a RemoteError", function()
    local err = remote_error(function()
      error(setmetatable({}, { __tostring = function() return "of no known class" end }))
    end)
    assert.are.equal(remoteobj.RemoteError, getmetatable(err))
    assert.are.equal("of no known class", err.message)
  end)

  it("may fail to say what it is", function()
    local err = remote_error(function()
      error(setmetatable({ io.stdout }, { __tostring = function() error "no text" end }))
    end)
    assert.are.equal("(error object is a table value)", err.message)
  end)

  it("has no remote traceback when it was made here", function()
    assert.is_nil(remoteobj.traceback {})
    assert.is_nil(remoteobj.traceback "text")
    assert.is_nil(remoteobj.traceback(nil))
    assert.is_false(pcall(remoteobj.traceback))
  end)
end)

describe("an error of the library", function()
  it("keeps its class, kind and further fields", function()
    local err = remote_error(function() remoteobj.pack(io.stdout) end)
    assert.are.equal(remoteobj.Error, getmetatable(err))
    assert.are.equal("Unsendable", err.kind)
    assert.are.equal(err.message, tostring(err))
    local died = remote_error(function()
      process(function() require("posix.signal").raise(9) end):start():join()
    end)
    assert.are.equal("ProcessDied", died.kind)
    assert.are.equal(-9, died.exitcode)
  end)
end)

describe("an error that is no table", function()
  it("arrives as a RemoteError that tells all about it", function()
    local err, p = remote_error(error, "boom", 0)
    assert.are.equal(remoteobj.RemoteError, getmetatable(err))
    assert.are.equal("boom", err.value)
    assert.are.equal("boom", err.message)
    assert.are.equal(p.pid, err.pid)
    assert.are.equal(p.name, err.process)
    assert.are.equal(err.traceback, remoteobj.traceback(err))
    assert.are.equal("boom\n" .. err.traceback, tostring(err))
  end)

  it("keeps the value where it can be sent", function()
    for _, value in ipairs { 5, 1.5, true, false, print } do
      local err = remote_error(error, value)
      assert.are.equal(value, err.value)
      assert.are.equal(tostring(value), err.message)
    end
    local err = remote_error(error)
    assert.is_nil(err.value)
    assert.are.equal("nil", err.message)
    err = remote_error(error, io.stdout)
    assert.is_nil(err.value)
    assert.matches("^file %(", err.message)
  end)

  it("has the methods of strings, on the message", function()
    local err = remote_error(error, "Boom 5", 0)
    assert.are.equal("5", err:match "%d")
    assert.are.equal("BOOM 5", err:upper())
    assert.are.same({ 1, 4 }, { err:find("Boom", 1, true) })
    assert.are.same({ "Bxxm 5", 2 }, { err:gsub("o", "x") })
    assert.are.equal(6, #err)
    assert.are.equal("failed: Boom 5", "failed: " .. err)
    assert.are.equal("Boom 5!", err .. "!")
    assert.is_nil(err.no_such_field)
  end)
end)

describe("a remote traceback", function()
  it("has every frame, also of coroutines that passed the error on with their results", function()
    local function inner_function()
      error "deep"
    end
    local function outer_function()
      inner_function()
      return 1
    end
    local err = remote_error(outer_function)
    assert.matches("inner_function.*in function", remoteobj.traceback(err))
  end)

  it("of a deep stack has the innermost and the outermost hundred", function()
    local function deep(n)
      if n == 0 then
        error "bottom"
      end
      deep(n - 1)
      return 1
    end
    local function frames(n)
      local p = process(deep, n):start()
      local _, err = pcall(p.join, p)
      local text = remoteobj.traceback(err)
      return select(2, text:gsub("\n\t[^\n]*: in ", "")), text
    end
    assert.are.equal(150 + 2, (frames(150))) -- with error itself, and deep(0)
    local count, text = frames(5000)
    assert.are.equal(200, count)
    assert.matches("skipping 4802 levels", text)
    assert.matches("\n\t[^\n]*in function 'deep'$", text)
    assert.matches("^stack traceback:\n\t%[C%]: in [^\n]*'error'", text)
  end)

  it("is there for a stack that overflowed", function()
    local function endless()
      return 1 + endless()
    end
    local err = remote_error(endless)
    assert.matches("stack overflow", err.message)
    assert.matches("endless", remoteobj.traceback(err))
  end)

  it("stays the innermost through several processes", function()
    for _, value in ipairs { "text", { "table" } } do
      local function origin_of_it()
        error(value)
      end
      local pids = {}
      local err = remote_error(function()
        local p = process(function() origin_of_it() return 1 end):start()
        p:join()
      end)
      assert.matches("origin_of_it", remoteobj.traceback(err))
      assert.is_nil(pids[err.pid])
    end
  end)

  it("is that of the raise although contexts have caught it on the way", function()
    local exc = remoteobj.Except()
    local function origin_of_it()
      error "x"
    end
    local err = remote_error(function()
      exc "outer"(function()
        exc("inner", { types = { "never" } })(function() origin_of_it() return 1 end)
      end)
    end)
    assert.matches("origin_of_it", remoteobj.traceback(err))
    assert.is_nil(remoteobj.traceback(err):find("remoteobj/", 1, true))
    assert.are.equal(1, #exc)
  end)
end)
