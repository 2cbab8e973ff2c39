-- A unary chat completion with the request head of an official Python client.
wrk.method = "POST"
wrk.path = "/proxy/mock/v1/chat/completions"
wrk.body = '{"model":"any","messages":[{"role":"user","content":"Say hello, please."}],"temperature":0.7}'
wrk.headers["Accept"] = "application/json"
wrk.headers["Accept-Encoding"] = "gzip, deflate"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["User-Agent"] = "OpenAI/Python 1.99.0"
wrk.headers["X-Stainless-Arch"] = "x64"
wrk.headers["X-Stainless-Async"] = "false"
wrk.headers["X-Stainless-Lang"] = "python"
wrk.headers["X-Stainless-OS"] = "Linux"
wrk.headers["X-Stainless-Retry-Count"] = "0"
wrk.headers["X-Stainless-Runtime"] = "CPython"
