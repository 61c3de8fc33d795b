-- Counts the words of all text files below a folder on all processors, and shows on the terminal how far it is.
--
-- Usage: word_count.lua [folder]
local remoteobj = require "remoteobj"

local folder = arg[1] or "/usr/share/doc"

local function files_below(name)
  local list = {}
  local find <close> = assert(io.popen(("find '%s' -type f"):format(name:gsub("'", "'\\''"))))
  for file in find:lines() do
    list[#list + 1] = file
  end
  return list
end

-- Runs in the workers: how often each word is in a file; nothing is in one that is not text.
local function count_words(name)
  local counts = {}
  local file <close> = io.open(name, "rb")
  local text = file and file:read "a" or ""
  if not text:find("\0", 1, true) then
    for word in text:gmatch "%a+" do
      word = word:lower()
      counts[word] = (counts[word] or 0) + 1
    end
  end
  return counts
end

local files = files_below(folder)
local totals, words, sum = {}, {}, 0
local pool <close> = remoteobj.pool()

-- The results come in the order of the files, while later ones are still being counted.
for counts in pool:imap(count_words, files, { chunk = 8, progress = "counting" }) do
  for word, count in pairs(counts) do
    if not totals[word] then
      totals[word] = 0
      words[#words + 1] = word
    end
    totals[word] = totals[word] + count
    sum = sum + count
  end
end

table.sort(words, function(a, b)
  return totals[a] > totals[b] or totals[a] == totals[b] and a < b
end)
print(("%d words, %d different ones, in %d files"):format(sum, #words, #files))
for i = 1, math.min(10, #words) do
  print(("%8d %s"):format(totals[words[i]], words[i]))
end
