-- Event loops of others: a listener with bg = false served by its descriptor, beside what else the loop does.
local loops = require "spec.support.loops"
local markdown = require "spec.support.markdown"
local poll = require "posix.poll"
local processes = require "spec.support.processes"
local remoteobj = require "remoteobj"
local script = require "spec.support.script"
local wait = require "spec.support.wait"

local function new_object()
  local object = { count = 0, turns = 0 }
  function object.add(self)
    self.count = self.count + 1
    return self.count
  end
  function object.turn(self)
    return self.turns
  end
  function object.finish(self)
    self.finished = true
  end
  return object
end

-- The blocks of the document by the modules that they need.
local function documented(module)
  local blocks = {}
  for _, block in ipairs(markdown.blocks("docs/event-loops.md", "lua")) do
    if block.text:find(('require "%s"'):format(module), 1, true) then
      blocks[#blocks + 1] = block
    end
  end
  return blocks
end

for _, name in ipairs { "poll", "cqueues", "luv" } do
  local module = loops.modules[name]
  local installed = package.searchpath(module, package.path) or package.searchpath(module, package.cpath)
  local describe = installed and describe or function()
    print("skipped, not installed: " .. module)
  end

  describe("the example of a loop of " .. name, function()
    local function prints_what_it_says(example, text)
      local result = script.run(example)
      assert.equal("", result.stderr)
      assert.equal(markdown.expected_output(text), result.stdout)
      assert.equal(0, result.code)
    end

    it("prints what its comments say", function()
      local example = ("examples/loop_%s.lua"):format(name)
      local file <close> = assert(io.open(example))
      prints_what_it_says(example, file:read "a")
    end)

    it("in the document does so too", function()
      local blocks = documented(module)
      assert.equal(1, #blocks)
      prints_what_it_says(blocks[1].text, blocks[1].text)
    end)
  end)

  describe("in a loop of " .. name, function()
    local object, proxy

    before_each(function()
      wait.guard()
      object = new_object()
      proxy = remoteobj.Proxy(object)
    end)

    after_each(function()
      processes.cleanup()
      wait.unguard()
    end)

    --- A process that listens and runs the loop until `finish` is called. There, prepare(loop, link) may give a
    -- function that every turn calls.
    local function serve(prepare)
      local server = processes.fork(function(link)
        local _ <close> = proxy:listen_ { bg = false }
        local loop = loops[name](proxy)
        local each = prepare and prepare(loop, link)
        if not each then
          loop:watch()
        end
        link:send "listening"
        loop:run(function()
          object.turns = object.turns + 1
          if each then
            each()
          end
          return not object.finished
        end)
        return object.count, object.turns
      end)
      assert.equal("listening", server:receive())
      return server
    end

    local function client()
      return processes.fork(function() return proxy:add() end)
    end

    it("requests are served while the loop goes on with its own", function()
      local server = serve()
      local before = proxy:turn()
      wait.until_true(function() return proxy:turn() > before + 5 end)
      for i = 1, 20 do
        assert.equal(i, proxy:add())
      end
      proxy:finish()
      assert.equal(20, (server:result()))
    end)

    it("several clients are served side by side", function()
      local server = serve()
      local clients = {}
      for i = 1, 5 do
        clients[i] = processes.fork(function()
          for _ = 1, 50 do
            proxy:add()
          end
        end)
      end
      for _, one in ipairs(clients) do
        one:result()
      end
      proxy:finish()
      assert.equal(250, (server:result()))
    end)

    --- The loop is busy from the answer "busy" on until it is sent something.
    local function serve_busily()
      local server = serve(function(loop, link)
        loop:watch()
        local was_busy = false
        return function()
          if not was_busy then
            was_busy = true
            link:send "busy"
            while poll.rpoll(link.input, 1000) == 0 do -- luacheck: ignore
            end
            link:receive()
          end
        end
      end)
      assert.equal("busy", server:receive())
      return server
    end

    it("requests that arrive while it is busy are served when it comes to them", function()
      local server = serve_busily()
      local clients, sum = {}, 0
      for i = 1, 3 do
        clients[i] = client()
        processes.wait_asleep(clients[i].pid)
      end
      server:send "go on"
      for _, one in ipairs(clients) do
        sum = sum + one:result()
      end
      assert.equal(6, sum)
      proxy:finish()
      assert.equal(3, (server:result()))
    end)

    it("a client that is killed while it waits disturbs nobody", function()
      local server = serve_busily()
      local victim, other = client(), client()
      processes.wait_asleep(victim.pid)
      processes.wait_asleep(other.pid)
      victim:kill()
      server:send "go on"
      local count = other:result()
      assert.is_true(count == 1 or count == 2) -- the victim's request may have been run
      local before = proxy:turn()
      wait.until_true(function() return proxy:turn() > before end)
      proxy:finish()
      server:result()
    end)

    it("a request may end the watch and stop the listener; the loop goes on", function()
      local server = serve(function(loop)
        function object.stop(self)
          self.stopped = true
          loop:unwatch()
          proxy:stop_listen_()
          return "stopped"
        end
        local left = 5
        loop:watch()
        return function()
          if object.stopped then
            left = left - 1
            object.finished = left == 0
          end
        end
      end)
      assert.equal("stopped", proxy:passto(function(o) return o:stop() end))
      assert.equal("not served", proxy.count:get_ { default = "not served" })
      local count, turns = server:result()
      assert.equal(0, count)
      assert.is_true(turns >= 5)
    end)

    it("a new listener is a new watch", function()
      local server = serve(function(loop)
        function object.again(self)
          self.restart = true
        end
        loop:watch()
        object.listeners = 1
        return function()
          if object.restart then
            object.restart = false
            loop:unwatch()
            proxy:stop_listen_()
            assert(not pcall(proxy.fileno_, proxy))
            proxy:listen_ { bg = false }
            loop:watch()
            object.listeners = object.listeners + 1
          end
        end
      end)
      for i = 1, 5 do
        proxy:again()
        wait.until_true(function()
          return proxy.listeners:get_ { default = 0 } == i + 1
        end)
        assert.equal(i, proxy:add())
      end
      proxy:finish()
      assert.equal(5, (server:result()))
    end)
  end)
end
