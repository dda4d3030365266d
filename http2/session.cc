#include "http2/session.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <nghttp2/nghttp2.h>

#include "base/check.h"
#include "base/owned.h"
#include "http2/frame_walk.h"
#include "http2/limits.h"
#include "http2/rate_limit.h"

namespace bulla::http2 {
namespace {

using Handle = Owned<nghttp2_session, nghttp2_session_del>;
using NgOption = Owned<nghttp2_option, nghttp2_option_del>;
using NgCallbacks = Owned<nghttp2_session_callbacks, nghttp2_session_callbacks_del>;

// What a buffer may keep of its memory when it is empty: a frame of 32 signatures.
constexpr std::size_t kKeptBytesMax = 4096;

nghttp2_nv ToNv(const Header& header) {
  // nghttp2 copies both, and does not write to them.
  const auto bytes = [](std::string_view text) {
    return const_cast<std::uint8_t*>(AsBytes(text).data());
  };
  return {bytes(header.name), bytes(header.value), header.name.size(), header.value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::vector<nghttp2_nv> ToNvs(std::span<const Header> headers) {
  std::vector<nghttp2_nv> nvs;
  nvs.reserve(headers.size());
  for (const Header& header : headers) nvs.push_back(ToNv(header));
  return nvs;
}

std::string_view ErrorName(std::uint32_t code) { return nghttp2_http2_strerror(code); }

NgOption MakeOptions() {
  nghttp2_option* option = nullptr;
  BULLA_CHECK(nghttp2_option_new(&option) == 0, "there is memory");
  nghttp2_option_set_no_auto_window_update(option, 1);  // Consume()
  nghttp2_option_set_no_closed_streams(option, 1);      // no memory for those that are gone
  nghttp2_option_set_max_outbound_ack(option, limits::kUnsentAcksMax);
  nghttp2_option_set_max_settings(option, limits::kSettingsMax);
  nghttp2_option_set_max_continuations(option, limits::kContinuationsMax);
  // Its limit of resets asks the machine what time it is; ours, which is told, is lower.
  constexpr std::uint64_t kNoLimit = 1'000'000'000;
  nghttp2_option_set_stream_reset_rate_limit(option, kNoLimit, kNoLimit);
  return NgOption(option);
}

}  // namespace

class Session::Impl {
 public:
  Impl(const Options& options, SessionEvents& events, std::function<void()> on_output,
       MonotonicTime now)
      : options_(options),
        events_(events),
        on_output_(std::move(on_output)),
        now_(now),
        walk_(is_server() ? NGHTTP2_CLIENT_MAGIC_LEN : 0),
        idle_frames_(limits::kIdleFramesBurst, limits::kIdleFramesPerSecond, now),
        peer_resets_(limits::kPeerResetsBurst, limits::kPeerResetsPerSecond, now),
        own_resets_(limits::kOwnResetsBurst, limits::kOwnResetsPerSecond, now),
        started_at_(now),
        idle_since_(now),
        received_at_(now) {
    MakeHandle();
    SubmitSettings();
  }

  // ---- Bytes and time ------------------------------------------------------------------------

  void Feed(ByteSpan bytes, MonotonicTime now) {
    const Inside inside(*this);
    now_ = received_at_ = now;
    if (ended_) return;
    const std::uint64_t blocks = walk_.header_blocks();
    const std::size_t idle = walk_.Feed(bytes);
    if (walk_.header_blocks() != blocks) header_block_since_ = now;
    if (!walk_.in_header_block()) header_block_since_.reset();
    for (std::size_t i = 0; i < idle; ++i) {
      if (!TakeIdleFrame()) return;
    }
    const ssize_t taken = nghttp2_session_mem_recv(handle_.get(), bytes.data(), bytes.size());
    if (taken < 0) Break(static_cast<int>(taken));
  }

  void Gather(std::string& out, std::size_t bytes_max, MonotonicTime now) {
    {
      const Inside inside(*this);
      now_ = now;
      const std::size_t end = out.size() + bytes_max;
      while (!broken_ && out.size() < end) {
        const std::uint8_t* frame = nullptr;
        const ssize_t size = nghttp2_session_mem_send(handle_.get(), &frame);
        if (size < 0) Break(static_cast<int>(size));
        if (size <= 0) break;
        out.append(reinterpret_cast<const char*>(frame), static_cast<std::size_t>(size));
      }
    }
    // Told outside of nghttp2, and without `inside_`: what is sent now is for the next time.
    for (const StreamId id : std::exchange(written_, {})) {
      if (Stream* stream = Find(id); stream != nullptr && stream->unsent() == 0) {
        events_.OnWritten(id);
      }
    }
  }

  MonotonicTime Tick(MonotonicTime now) {
    const Inside inside(*this);
    now_ = now;
    if (ended_ || broken_) return MonotonicTime::max();
    MonotonicTime next = MonotonicTime::max();
    const auto due = [&](MonotonicTime at) {
      if (now >= at) return true;
      next = std::min(next, at);
      return false;
    };
    if (!settings_received_ && due(started_at_ + options_.handshake_timeout)) {
      Terminate(ErrorCode::kNoError, absl::DeadlineExceededError("no SETTINGS have come"));
    } else if (header_block_since_ && due(*header_block_since_ + limits::kHeaderTimeout)) {
      Terminate(ErrorCode::kEnhanceYourCalm,
                absl::DeadlineExceededError("a header block has begun and not ended"));
    } else if (is_server() && streams_.empty() && options_.idle_timeout.count() > 0 &&
               due(idle_since_ + options_.idle_timeout)) {
      Terminate(ErrorCode::kNoError, absl::DeadlineExceededError("nothing was asked for"));
    } else if (drain_ == Drain::kNoticed && due(drain_since_ + limits::kDrainNoticeTimeout)) {
      SayLastStream();
    }
    if (options_.keepalive_interval.count() > 0) KeepAlive(due);
    if (unsent_bytes_ > 0) ResetStalled(due);
    return ended_ ? MonotonicTime::max() : next;
  }

  bool wants_output() const { return !broken_ && nghttp2_session_want_write(handle_.get()) != 0; }
  bool over() const {
    if (broken_) return true;
    if (wants_output()) return false;
    return ended_ || ((drain_ == Drain::kLast || goaway_received_) && streams_.empty());
  }
  const absl::Status& reason() const { return reason_; }

  // ---- Streams -------------------------------------------------------------------------------

  absl::StatusOr<StreamId> Open(std::span<const Header> headers, bool end) {
    if (!accepts_streams()) {
      return reason_.ok() ? absl::UnavailableError("the peer takes no more on this connection")
                          : absl::UnavailableError(reason_.message());
    }
    if (streams_.size() >= options_.streams_max) {
      return absl::ResourceExhaustedError(
          fmt::format("{} streams are open, at most {}", streams_.size(), options_.streams_max));
    }
    const std::vector<nghttp2_nv> nvs = ToNvs(headers);
    auto stream = std::make_unique<Stream>();
    const nghttp2_data_provider data = DataOf(*stream);
    const std::int32_t id = nghttp2_submit_request(handle_.get(), nullptr, nvs.data(), nvs.size(),
                                                   end ? nullptr : &data, nullptr);
    if (id < 0) return absl::UnavailableError(nghttp2_strerror(id));
    stream->announced = true;
    stream->sends = !end;
    streams_.emplace(id, std::move(stream));
    TellOutput();
    return id;
  }

  void Respond(StreamId id, std::span<const Header> headers, bool end) {
    Stream* const stream = Find(id);
    if (stream == nullptr) return;
    const std::vector<nghttp2_nv> nvs = ToNvs(headers);
    const nghttp2_data_provider data = DataOf(*stream);
    if (nghttp2_submit_response(handle_.get(), id, nvs.data(), nvs.size(), end ? nullptr : &data) !=
        0) {
      return;
    }
    stream->sends = !end;
    TellOutput();
  }

  void Send(StreamId id, ByteSpan bytes) {
    Stream* const stream = Find(id);
    if (stream == nullptr) return;
    BULLA_CHECK(stream->sends && !stream->ending, "a stream has begun to send and not ended");
    if (memory_bytes() + bytes.size() > options_.memory_bytes_max) {
      return Reset(id, ErrorCode::kEnhanceYourCalm);
    }
    stream->out.append(AsText(bytes));
    unsent_bytes_ += bytes.size();
    Resume(id, *stream);
  }

  void End(StreamId id, std::span<const Header> trailers) {
    Stream* const stream = Find(id);
    if (stream == nullptr || stream->ending) return;
    BULLA_CHECK(stream->sends, "a stream has begun to send");
    stream->ending = true;
    for (const Header& trailer : trailers) stream->trailers.Add(trailer.name, trailer.value);
    Resume(id, *stream);
  }

  void Reset(StreamId id, ErrorCode code) {
    if (Find(id) == nullptr) return;
    nghttp2_submit_rst_stream(handle_.get(), NGHTTP2_FLAG_NONE, id,
                              static_cast<std::uint32_t>(code));
    TellOutput();
  }

  void Consume(StreamId id, std::size_t bytes) {
    Stream* const stream = Find(id);
    if (stream == nullptr) return;
    bytes = std::min(bytes, stream->unconsumed);
    if (bytes == 0) return;
    stream->unconsumed -= bytes;
    unconsumed_bytes_ -= bytes;
    nghttp2_session_consume(handle_.get(), id, bytes);
    TellOutput();
  }

  void StartDrain() {
    if (drain_ != Drain::kNone || ended_) return;
    drain_ = Drain::kNoticed;
    drain_since_ = now_;
    nghttp2_submit_shutdown_notice(handle_.get());
    TellOutput();
  }

  void Terminate(ErrorCode code, absl::Status reason) {
    if (ended_) return;
    End(std::move(reason));
    nghttp2_session_terminate_session(handle_.get(), static_cast<std::uint32_t>(code));
    TellOutput();
  }

  MonotonicTime now() const { return now_; }
  std::size_t streams() const { return streams_.size(); }
  std::size_t unsent_bytes(StreamId id) {
    const Stream* const stream = Find(id);
    return stream == nullptr ? 0 : stream->unsent();
  }
  std::size_t memory_bytes() const { return unconsumed_bytes_ + unsent_bytes_; }
  bool accepts_streams() const { return !ended_ && !broken_ && !goaway_received_; }

 private:
  struct Stream {
    bool announced = false;  // the owner knows of it
    bool sends = false;      // headers were given, and did not end it
    bool ending = false;     // nothing will be added to `out`
    bool deferred = false;   // nghttp2 asks again when it is told to
    std::string out;         // of which out_sent bytes have left
    std::size_t out_sent = 0;
    HeaderBlock trailers;
    std::size_t unconsumed = 0;
    // Of what waits to leave: how much had left when it was last looked at, and when that changed.
    std::size_t left_bytes = 0;
    std::size_t seen_left_bytes = 0;
    std::optional<MonotonicTime> seen_at;

    std::size_t unsent() const { return out.size() - out_sent; }
  };

  // nghttp2 is at work, or will be looked at anyway: nobody has to be told of output.
  class Inside {
   public:
    explicit Inside(Impl& impl) : impl_(impl) {
      BULLA_CHECK(!impl_.inside_, "a session is not fed, gathered or ticked from its own events");
      impl_.inside_ = true;
    }
    ~Inside() { impl_.inside_ = false; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Impl& impl_;
  };

  enum class Drain { kNone, kNoticed, kLast };

  bool is_server() const { return options_.role == Role::kServer; }

  void MakeHandle() {
    nghttp2_session_callbacks* raw = nullptr;
    BULLA_CHECK(nghttp2_session_callbacks_new(&raw) == 0, "there is memory");
    const NgCallbacks callbacks(raw);
    nghttp2_session_callbacks_set_on_begin_headers_callback(raw, OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(raw, OnHeader);
    nghttp2_session_callbacks_set_on_frame_recv_callback(raw, OnFrameReceived);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(raw, OnInvalidFrame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(raw, OnDataChunk);
    nghttp2_session_callbacks_set_on_frame_send_callback(raw, OnFrameSent);
    nghttp2_session_callbacks_set_on_stream_close_callback(raw, OnStreamClose);
    const NgOption option = MakeOptions();
    nghttp2_session* session = nullptr;
    const int made = is_server() ? nghttp2_session_server_new2(&session, raw, this, option.get())
                                 : nghttp2_session_client_new2(&session, raw, this, option.get());
    BULLA_CHECK(made == 0, "there is memory");
    handle_.reset(session);
  }

  void SubmitSettings() {
    std::vector<nghttp2_settings_entry> settings = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
         static_cast<std::uint32_t>(options_.stream_window_bytes)},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits::kHeaderListBytesMax},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}};
    if (is_server()) {
      settings.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.streams_max});
    } else {
      settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
    }
    const int submitted =
        nghttp2_submit_settings(handle_.get(), NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    const int sized = nghttp2_session_set_local_window_size(
        handle_.get(), NGHTTP2_FLAG_NONE, 0,
        static_cast<std::int32_t>(options_.connection_window_bytes));
    BULLA_CHECK(submitted == 0 && sized == 0, "our settings are valid");
  }

  Stream* Find(StreamId id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second.get();
  }

  void TellOutput() {
    if (!inside_ && on_output_) on_output_();
  }

  void End(absl::Status reason) {
    ended_ = true;
    if (reason_.ok()) reason_ = std::move(reason);
  }

  // nghttp2 cannot go on.
  void Break(int error) {
    End(absl::UnavailableError(fmt::format("HTTP/2: {}", nghttp2_strerror(error))));
    broken_ = true;
  }

  bool TakeIdleFrame() {
    if (idle_frames_.Take(now_)) return true;
    Terminate(ErrorCode::kEnhanceYourCalm,
              absl::ResourceExhaustedError("the peer sends frames that bring nothing"));
    return false;
  }

  void SayLastStream() {
    drain_ = Drain::kLast;
    nghttp2_submit_goaway(handle_.get(), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(handle_.get()), NGHTTP2_NO_ERROR,
                          nullptr, 0);
  }

  template <typename Due>
  void KeepAlive(Due due) {
    if (ping_sent_at_ && received_at_ > *ping_sent_at_) ping_sent_at_.reset();
    if (ping_sent_at_) {
      if (!due(*ping_sent_at_ + options_.keepalive_timeout)) return;
      End(absl::UnavailableError(fmt::format("the peer has not answered a PING in {} ms",
                                             options_.keepalive_timeout.count())));
      broken_ = true;
    } else if (due(received_at_ + options_.keepalive_interval)) {
      nghttp2_submit_ping(handle_.get(), NGHTTP2_FLAG_NONE, nullptr);
      ping_sent_at_ = now_;
      due(now_ + options_.keepalive_timeout);
    }
  }

  template <typename Due>
  void ResetStalled(Due due) {
    for (auto& [id, stream] : streams_) {
      if (stream->unsent() == 0) {
        stream->seen_at.reset();
        continue;
      }
      if (!stream->seen_at || stream->seen_left_bytes != stream->left_bytes) {
        stream->seen_at = now_;
        stream->seen_left_bytes = stream->left_bytes;
      }
      if (!due(*stream->seen_at + limits::kStalledStreamTimeout)) continue;
      stream->seen_at = now_;
      Reset(id, ErrorCode::kEnhanceYourCalm);
    }
  }

  nghttp2_data_provider DataOf(Stream& stream) {
    nghttp2_data_provider provider{};
    provider.source.ptr = &stream;
    provider.read_callback = ReadData;
    return provider;
  }

  // Trailers too go the way of data: a stream that waits for more has to be told of them.
  void Resume(StreamId id, Stream& stream) {
    if (!std::exchange(stream.deferred, false)) return TellOutput();
    nghttp2_session_resume_data(handle_.get(), id);
    TellOutput();
  }

  // ---- nghttp2's callbacks: `user` is the Impl -------------------------------------------------

  static Impl& Self(void* user) { return *static_cast<Impl*>(user); }

  static ssize_t ReadData(nghttp2_session* session, std::int32_t id, std::uint8_t* buffer,
                          std::size_t size, std::uint32_t* flags, nghttp2_data_source* source,
                          void* user) {
    Impl& self = Self(user);
    Stream& stream = *static_cast<Stream*>(source->ptr);
    const std::size_t part = std::min(size, stream.unsent());
    if (part == 0 && !stream.ending) {
      stream.deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    std::memcpy(buffer, stream.out.data() + stream.out_sent, part);
    stream.out_sent += part;
    stream.left_bytes += part;
    self.unsent_bytes_ -= part;
    if (stream.unsent() > 0) return static_cast<ssize_t>(part);
    stream.out.clear();
    stream.out_sent = 0;
    if (stream.out.capacity() > kKeptBytesMax) stream.out.shrink_to_fit();
    if (part > 0) self.written_.push_back(id);
    if (stream.ending) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (stream.trailers.size() > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        std::vector<nghttp2_nv> nvs;
        for (std::size_t i = 0; i < stream.trailers.size(); ++i) {
          nvs.push_back(ToNv(stream.trailers[i]));
        }
        nghttp2_submit_trailer(session, id, nvs.data(), nvs.size());
      }
    }
    return static_cast<ssize_t>(part);
  }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Impl& self = Self(user);
    self.headers_.Clear();
    self.header_list_bytes_ = 0;
    if (self.ended_ || frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      self.streams_.emplace(frame->hd.stream_id, std::make_unique<Stream>());
      self.idle_frames_.Return(limits::kFramesForProgress);
    }
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                      std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                      std::uint8_t, void* user) {
    Impl& self = Self(user);
    self.header_list_bytes_ += name_size + value_size + 32;
    if (self.header_list_bytes_ > limits::kHeaderListBytesMax) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // ends the stream alone
    }
    self.headers_.Add(AsText({name, name_size}), AsText({value, value_size}));
    return 0;
  }

  static int OnFrameReceived(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Impl& self = Self(user);
    if (self.ended_) return 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        self.TakeHeaders(frame->hd.stream_id);
        break;
      case NGHTTP2_SETTINGS:
        self.settings_received_ = true;
        break;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && self.drain_ == Drain::kNoticed) {
          self.SayLastStream();
        }
        break;
      case NGHTTP2_GOAWAY:
        self.TakeGoAway(frame->goaway);
        break;
      case NGHTTP2_RST_STREAM:
        if (self.is_server() && !self.peer_resets_.Take(self.now_)) {
          self.Terminate(ErrorCode::kEnhanceYourCalm,
                         absl::ResourceExhaustedError("the peer resets streams that it opened"));
        }
        break;
      default:
        break;
    }
    const bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (ends && self.Find(frame->hd.stream_id) != nullptr) {
      self.events_.OnEnd(frame->hd.stream_id);
    }
    return 0;
  }

  void TakeHeaders(StreamId id) {
    Stream* const stream = Find(id);
    if (stream == nullptr) return;
    const std::optional<std::string_view> status = headers_.Find(":status");
    if (status && status->starts_with('1')) return;
    const bool begins = is_server() ? !std::exchange(stream->announced, true) : status.has_value();
    if (begins) {
      events_.OnHeaders(id, headers_);
    } else {
      events_.OnTrailers(id, headers_);
    }
  }

  void TakeGoAway(const nghttp2_goaway& goaway) {
    if (goaway.error_code != NGHTTP2_NO_ERROR && reason_.ok()) {
      reason_ = absl::UnavailableError(
          fmt::format("the peer ends the connection: {}", ErrorName(goaway.error_code)));
    }
    if (!is_server() && !std::exchange(goaway_received_, true)) events_.OnGoAway();
  }

  static int OnInvalidFrame(nghttp2_session*, const nghttp2_frame*, int error, void* user) {
    Self(user).last_fault_ = error;
    return 0;
  }

  static int OnDataChunk(nghttp2_session* session, std::uint8_t, std::int32_t id,
                         const std::uint8_t* data, std::size_t size, void* user) {
    Impl& self = Self(user);
    Stream* const stream = self.Find(id);
    if (stream == nullptr || self.ended_) {
      nghttp2_session_consume(session, id, size);
      return 0;
    }
    self.idle_frames_.Return(limits::kFramesForProgress);
    if (self.memory_bytes() + size > self.options_.memory_bytes_max) {
      nghttp2_session_consume(session, id, size);
      self.Reset(id, ErrorCode::kEnhanceYourCalm);
      return 0;
    }
    stream->unconsumed += size;
    self.unconsumed_bytes_ += size;
    self.events_.OnData(id, {data, size});
    return 0;
  }

  static int OnFrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    Impl& self = Self(user);
    switch (frame->hd.type) {
      case NGHTTP2_RST_STREAM:
        self.CountOwnReset(frame->rst_stream.error_code);
        break;
      case NGHTTP2_GOAWAY:
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR) {
          self.End(absl::UnavailableError(fmt::format(
              "the peer breaks the protocol: {} ({})", ErrorName(frame->goaway.error_code),
              self.last_fault_ != 0 ? nghttp2_strerror(self.last_fault_) : "GOAWAY")));
        } else if (self.drain_ == Drain::kNoticed) {
          // When its answer is here, so is what the peer sent before it read the notice. Not
          // submitted together with it: a PING overtakes.
          nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, nullptr);
        }
        break;
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
        // A server that has answered wants no more of the request. Not submitted earlier: nghttp2
        // drops what is still to be sent on a stream that is to be reset.
        if (self.is_server() && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
            nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
          nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                    NGHTTP2_NO_ERROR);
        }
        break;
      default:
        break;
    }
    return 0;
  }

  void CountOwnReset(std::uint32_t code) {
    if (code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL) return;
    if (code == NGHTTP2_REFUSED_STREAM) {
      TakeIdleFrame();
    } else if (!own_resets_.Take(now_)) {
      Terminate(ErrorCode::kEnhanceYourCalm,
                absl::ResourceExhaustedError("the peer makes streams that have to be reset"));
    }
  }

  static int OnStreamClose(nghttp2_session* session, std::int32_t id, std::uint32_t code,
                           void* user) {
    Impl& self = Self(user);
    const auto found = self.streams_.find(id);
    if (found == self.streams_.end()) return 0;
    const std::unique_ptr<Stream> stream = std::move(found->second);
    self.streams_.erase(found);
    if (self.streams_.empty()) self.idle_since_ = self.now_;
    self.unsent_bytes_ -= stream->unsent();
    self.unconsumed_bytes_ -= stream->unconsumed;
    if (stream->unconsumed > 0) nghttp2_session_consume_connection(session, stream->unconsumed);
    if (stream->announced) self.events_.OnClosed(id, static_cast<ErrorCode>(code));
    return 0;
  }

  const Options options_;
  SessionEvents& events_;
  const std::function<void()> on_output_;
  MonotonicTime now_;  // as it was told last
  Handle handle_;
  bool inside_ = false;

  absl::flat_hash_map<StreamId, std::unique_ptr<Stream>> streams_;
  std::vector<StreamId> written_;  // to be told of
  std::size_t unsent_bytes_ = 0;
  std::size_t unconsumed_bytes_ = 0;

  // Of the header block that is arriving.
  HeaderBlock headers_;
  std::size_t header_list_bytes_ = 0;
  std::optional<MonotonicTime> header_block_since_;

  FrameWalk walk_;
  RateLimit idle_frames_;
  RateLimit peer_resets_;
  RateLimit own_resets_;

  const MonotonicTime started_at_;
  MonotonicTime idle_since_;
  MonotonicTime received_at_;
  std::optional<MonotonicTime> ping_sent_at_;
  bool settings_received_ = false;

  Drain drain_ = Drain::kNone;
  MonotonicTime drain_since_;
  bool goaway_received_ = false;
  bool ended_ = false;   // the last GOAWAY is said or about to be: nothing counts any more
  bool broken_ = false;  // nghttp2 cannot go on, or nobody listens
  int last_fault_ = 0;   // nghttp2's
  absl::Status reason_;
};

Session::Session(const Options& options, SessionEvents& events, std::function<void()> on_output,
                 MonotonicTime now)
    : impl_(std::make_unique<Impl>(options, events, std::move(on_output), now)) {}
Session::~Session() = default;

void Session::Feed(ByteSpan bytes, MonotonicTime now) { impl_->Feed(bytes, now); }
void Session::Gather(std::string& out, std::size_t bytes_max, MonotonicTime now) {
  impl_->Gather(out, bytes_max, now);
}
MonotonicTime Session::Tick(MonotonicTime now) { return impl_->Tick(now); }
bool Session::wants_output() const { return impl_->wants_output(); }
bool Session::over() const { return impl_->over(); }
const absl::Status& Session::reason() const { return impl_->reason(); }

absl::StatusOr<StreamId> Session::Open(std::span<const Header> headers, bool end) {
  return impl_->Open(headers, end);
}
void Session::Respond(StreamId stream, std::span<const Header> headers, bool end) {
  impl_->Respond(stream, headers, end);
}
void Session::Send(StreamId stream, ByteSpan bytes) { impl_->Send(stream, bytes); }
void Session::End(StreamId stream, std::span<const Header> trailers) {
  impl_->End(stream, trailers);
}
void Session::Reset(StreamId stream, ErrorCode code) { impl_->Reset(stream, code); }
void Session::Consume(StreamId stream, std::size_t bytes) { impl_->Consume(stream, bytes); }
void Session::Drain() { impl_->StartDrain(); }
void Session::Terminate(ErrorCode code, absl::Status reason) {
  impl_->Terminate(code, std::move(reason));
}
MonotonicTime Session::now() const { return impl_->now(); }
std::size_t Session::streams() const { return impl_->streams(); }
std::size_t Session::unsent_bytes(StreamId stream) const { return impl_->unsent_bytes(stream); }
std::size_t Session::memory_bytes() const { return impl_->memory_bytes(); }
bool Session::accepts_streams() const { return impl_->accepts_streams(); }

}  // namespace bulla::http2
