#include "tests/simulation/simulated_transport.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace bulla {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Of a frame into the kernel: what gathers meanwhile leaves with the next.
constexpr Duration kWriteTime = microseconds(10);
// Between two connections that break with their enclave.
constexpr Duration kBreakApart = milliseconds(1);
// Between two looks at whether an enclave that is frozen has come to.
constexpr Duration kLook = milliseconds(100);

}  // namespace

// ---- Frames ----------------------------------------------------------------------------------

// Outlives the connection's owner: what is under way to it finds it here.
struct SimulatedTransport::Frames {
  World& world;
  EnclaveModel& enclave;
  const std::uint64_t boot;
  FrameEvents* events = nullptr;
  bool broken = false;
  Duration delay{};
  MonotonicTime last_arrival{};

  // Of what is written now: in the order in which it was written, however long each takes.
  MonotonicTime Arrival() {
    const Duration max = enclave.delay_max();
    const Duration jitter = max > Duration::zero() ? world.dice.Between({}, max) : Duration::zero();
    return last_arrival = std::max(last_arrival, world.now + EnclaveModel::kWay + delay + jitter);
  }
  void Break() {
    if (broken || events == nullptr) return;
    broken = true;
    events->OnBroken();
  }
};

namespace {

class SimulatedFrameConnection final : public FrameConnection {
 public:
  explicit SimulatedFrameConnection(std::shared_ptr<SimulatedTransport::Frames> frames)
      : frames_(std::move(frames)) {}

  void Start(FrameEvents& events) override { frames_->events = &events; }
  void Write(const RequestBatch& batch) override {
    const auto& frames = frames_;
    if (!frames->broken && frames->enclave.boot() == frames->boot) {
      frames->enclave.Take({.batch = batch,
                            .sent_at = frames->world.now,
                            .arrives_at = frames->Arrival(),
                            .answered = [frames](std::optional<ReplyBatch> replies) {
                              if (frames->broken) return;
                              if (!replies) return frames->Break();
                              frames->events->OnReplies(*replies);
                            }});
    }
    frames->world.After(kWriteTime, [frames] { frames->events->OnWriteDone(!frames->broken); });
  }
  void Close() override {
    frames_->world.After({}, [frames = frames_] { frames->Break(); });
  }
  void Finish() override {
    frames_->world.After({}, [frames = frames_] { frames->events->OnClosed(); });
  }

 private:
  const std::shared_ptr<SimulatedTransport::Frames> frames_;
};

}  // namespace

// ---- Control calls ---------------------------------------------------------------------------

struct SimulatedTransport::Control {
  using Fail = std::function<void(absl::Status)>;

  World& world;
  EnclaveModel& enclave;
  const std::uint64_t boot;
  const std::uint64_t id;
  bool cancelled = false;
  std::uint64_t last_call = 0;
  std::map<std::uint64_t, Fail> under_way;

  void FailAll(const absl::Status& status) {
    for (const auto& [number, fail] : std::exchange(under_way, {})) fail(status);
  }
};

namespace {

class SimulatedControlConnection final : public ControlConnection {
 public:
  explicit SimulatedControlConnection(std::shared_ptr<SimulatedTransport::Control> control)
      : control_(std::move(control)) {}

  void Hello(const wire::v1::HelloRequest&, Timeout timeout,
             Done<wire::v1::HelloReply> done) override {
    Call<wire::v1::HelloReply>(timeout, std::move(done),
                               [](EnclaveModel& enclave, auto answer) { answer(enclave.Hello()); });
  }
  void Unlock(const wire::v1::UnlockRequest& request, Timeout timeout,
              Done<wire::v1::UnlockReply> done) override {
    Call<wire::v1::UnlockReply>(
        timeout, std::move(done),
        [request, id = control_->id](EnclaveModel& enclave, auto answer) {
          enclave.Unlock(id, request, answer);
        });
  }
  void SealUnder(const wire::v1::SealUnderRequest& request, Timeout timeout,
                 Done<wire::v1::SealUnderReply> done) override {
    Call<wire::v1::SealUnderReply>(timeout, std::move(done),
                                   [request](EnclaveModel& enclave, auto answer) {
                                     enclave.SealUnder(request);
                                     answer(wire::v1::SealUnderReply());
                                   });
  }
  void Configure(const wire::v1::ConfigureRequest&, Timeout timeout,
                 Done<wire::v1::ConfigureReply> done) override {
    Call<wire::v1::ConfigureReply>(timeout, std::move(done), [](EnclaveModel&, auto answer) {
      answer(wire::v1::ConfigureReply());
    });
  }
  void KeysInUse(const wire::v1::KeysInUseRequest&, Timeout timeout,
                 Done<wire::v1::KeysInUseReply> done) override {
    Call<wire::v1::KeysInUseReply>(
        timeout, std::move(done),
        [](EnclaveModel& enclave, auto answer) { answer(enclave.KeysInUse()); });
  }
  void Forget(const wire::v1::ForgetRequest&, Timeout timeout,
              Done<wire::v1::ForgetReply> done) override {
    Call<wire::v1::ForgetReply>(timeout, std::move(done), [](EnclaveModel&, auto answer) {
      answer(wire::v1::ForgetReply());
    });
  }
  void Probe(const wire::v1::ProbeRequest&, Timeout timeout,
             Done<wire::v1::ProbeReply> done) override {
    Call<wire::v1::ProbeReply>(timeout, std::move(done),
                               [](EnclaveModel&, auto answer) { answer(wire::v1::ProbeReply()); });
  }
  void CancelAll() override {
    control_->cancelled = true;
    control_->world.After(
        {}, [control = control_] { control->FailAll(absl::CancelledError("disconnected")); });
  }

 private:
  template <typename Reply, typename Serve>
  void Call(Timeout timeout, Done<Reply> done, Serve serve) {
    const auto& control = control_;
    if (control->cancelled) return done(absl::CancelledError("disconnected"));
    const std::uint64_t number = ++control->last_call;
    control->under_way[number] = [done](const absl::Status& status) { done(status); };
    control->world.After(timeout, [control, number] {
      auto call = control->under_way.extract(number);
      if (!call.empty()) call.mapped()(absl::DeadlineExceededError("no answer"));
    });
    control->world.After(EnclaveModel::kWay, [control, number, done, serve] {
      Arrive<Reply>(control, number, done, serve);
    });
  }

  template <typename Reply, typename Serve>
  static void Arrive(const std::shared_ptr<SimulatedTransport::Control>& control,
                     std::uint64_t number, const Done<Reply>& done, const Serve& serve) {
    if (!control->under_way.contains(number)) return;
    if (control->enclave.boot() != control->boot) {
      return control->under_way.extract(number).mapped()(
          absl::UnavailableError("the connection is lost"));
    }
    if (control->enclave.frozen()) {
      return control->world.After(
          kLook, [control, number, done, serve] { Arrive<Reply>(control, number, done, serve); });
    }
    serve(control->enclave, [control, number, done](absl::StatusOr<Reply> reply) {
      control->world.After(EnclaveModel::kWay, [control, number, done, reply] {
        if (!control->under_way.extract(number).empty()) done(reply);
      });
    });
  }

  const std::shared_ptr<SimulatedTransport::Control> control_;
};

}  // namespace

// ---- Connections -----------------------------------------------------------------------------

absl::StatusOr<SimulatedTransport::End*> SimulatedTransport::Dial(const Address& address) {
  End& end = enclaves_.at(address.ToString());
  if (!end.enclave->up()) return absl::UnavailableError("nobody listens");
  std::erase_if(end.frames, [](const auto& frames) { return frames.expired(); });
  std::erase_if(end.controls, [](const auto& control) { return control.expired(); });
  return &end;
}

absl::StatusOr<std::shared_ptr<ControlConnection>> SimulatedTransport::DialControlBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(End * end, Dial(address));
  auto control = std::shared_ptr<Control>(
      new Control{world_, *end->enclave, end->enclave->boot(), ++last_control_});
  end->controls.push_back(control);
  return std::make_shared<SimulatedControlConnection>(std::move(control));
}

absl::StatusOr<std::unique_ptr<FrameConnection>> SimulatedTransport::DialFramesBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(End * end, Dial(address));
  auto frames = std::shared_ptr<Frames>(new Frames{world_, *end->enclave, end->enclave->boot()});
  end->frames.push_back(frames);
  return std::make_unique<SimulatedFrameConnection>(std::move(frames));
}

void SimulatedTransport::OnKilled(const EnclaveModel& enclave) {
  End& end = enclaves_.at(AddressOf(enclave.name()).ToString());
  Duration wait{};
  for (const auto& weak : end.frames) {
    wait += kBreakApart;
    world_.After(wait, [frames = weak.lock()] {
      if (frames != nullptr) frames->Break();
    });
  }
  for (const auto& weak : end.controls) {
    world_.After(wait + kBreakApart, [control = weak.lock()] {
      if (control != nullptr) control->FailAll(absl::UnavailableError("the connection is lost"));
    });
  }
}

std::shared_ptr<SimulatedTransport::Frames> SimulatedTransport::FirstStream(
    const EnclaveModel& enclave) {
  for (const auto& weak : enclaves_.at(AddressOf(enclave.name()).ToString()).frames) {
    const auto frames = weak.lock();
    if (frames != nullptr && !frames->broken) return frames;
  }
  return nullptr;
}

void SimulatedTransport::DelayStream(const EnclaveModel& enclave, Duration delay) {
  if (const auto frames = FirstStream(enclave); frames != nullptr) frames->delay = delay;
}

void SimulatedTransport::CutStream(const EnclaveModel& enclave) {
  if (const auto frames = FirstStream(enclave); frames != nullptr) frames->Break();
}

}  // namespace bulla
